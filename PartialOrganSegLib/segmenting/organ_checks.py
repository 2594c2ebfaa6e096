"""What a person should look at in a result: volumes, the image border, components, sides, uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..imaging.components import components, voxel_counts
from ..imaging.volume import Volume
from ..organ_records import Volumes, known_organs, organ_record
from ..organs import LabelSpace

# Components are counted at about this spacing, those above this share of the organ.
COUNT_MM = 2.0
COUNT_SHARE = 0.02
UNCERTAIN_NATS = 0.7


@dataclass(frozen=True)
class OrganReport:
    """An organ of a result. `checks` are short sentences, empty when nothing is noticed; absent has 0 ml."""

    organ: str
    volume_ml: float
    components: int
    checks: list[str]
    entropy: float | None


def usual_volumes() -> dict[str, Volumes]:
    """Volume statistics of each organ whose record has them, over adults with full organs."""
    records = known_organs().records
    return {name: record.usual_ml for name, record in records.items() if record.usual_ml is not None}


def expected_parts(organ: str) -> int:
    """How many components of an organ raise no question."""
    record = organ_record(organ)
    return 1 if record is None or record.components is None else record.components.most


def check_organs(labels: Volume, label_space: LabelSpace,
                 entropy: Mapping[str, float] | None = None) -> list[OrganReport]:
    """A report for every organ of the label space, in its order. `entropy`: mean nats of an organ's voxels."""
    entropy = entropy or {}
    canonical = labels.canonical()
    counts = voxel_counts(canonical.array, label_space.class_count)
    steps = [max(1, round(COUNT_MM / mm)) for mm in canonical.grid.spacing[::-1]]
    coarse = np.ascontiguousarray(canonical.array[tuple(slice(None, None, step) for step in steps)])
    boxes = ndimage.find_objects(coarse, label_space.class_count - 1)
    borders = _border_labels(canonical.array)
    centres = {index: (box[2].start + box[2].stop) / 2 for index, box in enumerate(boxes, 1) if box is not None}
    twins = {index: pair for pair in label_space.mirrored for index in pair}
    reports = []
    for organ in label_space.organs:
        volume = float(counts[organ.index]) * labels.grid.voxel_ml
        value = entropy.get(organ.name)
        if volume == 0:
            reports.append(OrganReport(organ.name, 0.0, 0, ["not found"], None))
            continue
        box = boxes[organ.index - 1]
        found = components(coarse, organ.index, box) if box else []
        parts = max(1, sum(c.voxels >= COUNT_SHARE * sum(d.voxels for d in found) for c in found))
        checks = _volume_checks(organ.name, volume, organ.index in borders)
        if parts > expected_parts(organ.name):
            checks.append(f"{parts} separate parts")
        if organ.index in twins:
            left, right = twins[organ.index]
            if left in centres and right in centres and centres[left] <= centres[right]:
                twin = label_space.organs[(right if organ.index == left else left) - 1]
                checks.append(f"left and right look swapped with the {twin.title}")
        if value is not None and value > UNCERTAIN_NATS:
            checks.append(f"uncertain (entropy {value:.2f} nats)")
        reports.append(OrganReport(organ.name, volume, parts, checks, value))
    return reports


def _border_labels(array: np.ndarray) -> set[int]:
    """Labels on any of the six faces."""
    found: set[int] = set()
    for axis in range(3):
        for edge in (0, -1):
            found.update(np.unique(np.take(array, edge, axis=axis)).tolist())
    return found - {0}


def _volume_checks(name: str, volume: float, at_border: bool) -> list[str]:
    checks = ["touches the image border: may be cut off"] if at_border else []
    usual = usual_volumes().get(name)
    if usual is None:
        return checks
    rare = "" if usual.min <= volume <= usual.max else "very "
    expected = f"{volume:.0f} ml, usual {usual.p5:.0f}-{usual.p95:.0f} ml"
    if volume > usual.p95:
        checks.append(f"{rare}large: {expected}")
    elif volume < usual.p5 and not at_border:
        checks.append(f"{rare}small: {expected}")
    return checks
