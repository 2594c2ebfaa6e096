"""What a person should look at in a result: volumes, the image border, components, regions, sides, uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from ..imaging.components import components, voxel_counts
from ..imaging.shapes import Box3, LabelMap
from ..imaging.volume import Volume
from ..organ_records import Volumes, known_organs, organ_record
from ..organs import LabelSpace
from .body_regions import STRAY_ML, Surroundings, find_landmarks, stray
from .check_kinds import CheckKind, OrganCheck, checks_text

# Components are counted at about this spacing, those above this share of the organ.
COUNT_MM = 2.0
COUNT_SHARE = 0.02
# About what a coin has whose sides are equally likely.
UNCERTAIN_NATS = 0.7


@dataclass(frozen=True)
class OrganReport:
    """An organ of a result. `checks` is empty when nothing is noticed; an absent organ has 0 ml."""

    organ: str
    volume_ml: float
    components: int
    checks: list[OrganCheck]
    entropy: float | None

    def as_row(self) -> dict[str, Any]:
        """A row of a table: the fields, with the checks as one text."""
        return {**vars(self), "checks": checks_text(self.checks)}

    def as_event(self) -> dict[str, Any]:
        """An organ of a JSON event: the row, and the checks as data under `checks_data`."""
        return {**self.as_row(), "checks_data": [check.as_event() for check in self.checks]}


def usual_volumes() -> dict[str, Volumes]:
    """Volume statistics of each organ whose record has them, over adults with full organs."""
    records = known_organs().records
    return {name: record.usual_ml for name, record in records.items() if record.usual_ml is not None}


def expected_parts(organ: str) -> int:
    """How many components of an organ raise no question."""
    record = organ_record(organ)
    if record is None or record.components is None:
        return 1
    return record.components.most


def check_organs(labels: Volume, label_space: LabelSpace, entropy: Mapping[str, float] | None = None,
                 ct: Volume | None = None) -> list[OrganReport]:
    """A report for every organ of the label space, in its order.

    `entropy`: mean nats of an organ's voxels. With `ct`, on the labels' grid, parts outside the patient and in the
    lungs are noticed too.
    """
    entropy = entropy or {}
    canonical = labels.canonical()
    counts = voxel_counts(canonical.array, label_space.class_count)
    steps = [max(1, round(COUNT_MM / mm)) for mm in canonical.grid.spacing[::-1]]
    coarse = np.ascontiguousarray(canonical.array[tuple(slice(None, None, step) for step in steps)])
    boxes = ndimage.find_objects(coarse, label_space.class_count - 1)
    parts = {}
    for organ in label_space.organs:
        box = boxes[organ.index - 1]
        if box is not None:
            parts[organ.name] = components(coarse, organ.index, box)
    step_mm, voxel_ml = canonical.grid.spacing[2] * steps[0], labels.grid.voxel_ml * math.prod(steps)
    largest = {name: organ_parts[0] for name, organ_parts in parts.items()}
    landmarks = find_landmarks(largest, step_mm, len(coarse))
    surroundings = None if ct is None else Surroundings(ct.canonical(), coarse > 0, steps)
    borders = _border_labels(canonical.array)
    swapped = _swapped(label_space, boxes)
    reports = []
    for organ in label_space.organs:
        volume = float(counts[organ.index]) * labels.grid.voxel_ml
        value = entropy.get(organ.name)
        if volume == 0:
            reports.append(OrganReport(organ.name, 0.0, 0, [OrganCheck(CheckKind.NOT_FOUND, organ.name)], None))
            continue
        organ_parts = parts.get(organ.name, [])
        # Crumbs are left out; a thin organ may have no voxel at the spacing that is counted at.
        min_voxels = COUNT_SHARE * sum(part.voxels for part in organ_parts)
        number = max(1, sum(part.voxels >= min_voxels for part in organ_parts))
        checks = _volume_checks(organ.name, volume, organ.index in borders)
        expected = expected_parts(organ.name)
        if number > expected:
            checks.append(OrganCheck(CheckKind.SEPARATE_PARTS, organ.name, number, 1, expected))
        outside = stray(organ.name, organ_parts, voxel_ml, step_mm, landmarks, surroundings)
        if outside is not None:
            checks.append(OrganCheck(CheckKind.STRAY_COMPONENT, organ.name, outside[0], 0, STRAY_ML, outside[1].value))
        if organ.name in swapped:
            checks.append(OrganCheck(CheckKind.SIDE_SWAPPED, organ.name, detail=swapped[organ.name]))
        if value is not None and value > UNCERTAIN_NATS:
            checks.append(OrganCheck(CheckKind.UNCERTAIN, organ.name, value, 0, UNCERTAIN_NATS))
        reports.append(OrganReport(organ.name, volume, number, checks, value))
    return reports


def _swapped(label_space: LabelSpace, boxes: Sequence[Box3 | None]) -> dict[str, str]:
    """Organs that lie on the side of their twin, each with the twin's name. `boxes` are in canonical order."""
    centres = {}
    for index, box in enumerate(boxes, 1):
        if box is not None:
            centres[index] = (box[2].start + box[2].stop) / 2
    twins: dict[str, str] = {}
    for left, right in label_space.mirrored:
        if left in centres and right in centres and centres[left] <= centres[right]:
            left_name, right_name = label_space.organs[left - 1].name, label_space.organs[right - 1].name
            twins |= {left_name: right_name, right_name: left_name}
    return twins


def _border_labels(array: LabelMap) -> set[int]:
    """Labels on any of the six faces."""
    labels: set[int] = set()
    for axis in range(3):
        for edge in (0, -1):
            labels.update(np.unique(np.take(array, edge, axis=axis)).tolist())
    return labels - {0}


def _volume_checks(name: str, volume: float, at_border: bool) -> list[OrganCheck]:
    checks = [OrganCheck(CheckKind.TOUCHES_BORDER, name)] if at_border else []
    usual = usual_volumes().get(name)
    if usual is None:
        return checks
    kind = None
    if volume > usual.max:
        kind = CheckKind.VERY_LARGE
    elif volume > usual.p95:
        kind = CheckKind.LARGE
    # An organ that is cut off is small for that reason.
    elif volume < usual.min and not at_border:
        kind = CheckKind.VERY_SMALL
    elif volume < usual.p5 and not at_border:
        kind = CheckKind.SMALL
    if kind is not None:
        checks.append(OrganCheck(kind, name, volume, usual.p5, usual.p95))
    return checks
