"""What a correction did to each organ, in millilitres and millimetres."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields

import numpy as np
from scipy import ndimage

from ..imaging.shapes import LabelMap, Mask, Spacing3
from ..organs import LabelSpace


@dataclass(frozen=True)
class OrganChange:
    """An organ's voxels won and lost, in ml, and how far the new border lies at most from the old one.

    `farthest_mm`: the largest distance of a changed voxel from the organ as it was (of those gained) or as it is now
    (of those lost); None where the organ was or became absent from the region, so that there is nothing to measure to.
    """

    organ: str
    gained_ml: float
    lost_ml: float
    farthest_mm: float | None

    @staticmethod
    def columns() -> tuple[str, ...]:
        """Of a table of changes, also of none."""
        return tuple(field.name for field in fields(OrganChange))

    def as_row(self) -> dict[str, object]:
        """A row of a table."""
        return asdict(self)

    def text(self) -> str:
        """A phrase for a person: `spleen: +3.1 ml, -0.4 ml, at most 7 mm`."""
        parts = []
        for sign, millilitres in (("+", self.gained_ml), ("-", self.lost_ml)):
            # Two digits are enough, but 123 ml shall not read 1.2e+02.
            if millilitres >= 10:
                parts.append(f"{sign}{millilitres:.0f} ml")
            elif millilitres > 0:
                parts.append(f"{sign}{millilitres:.2g} ml")
        if self.farthest_mm is not None:
            parts.append(f"at most {self.farthest_mm:.0f} mm")
        return f"{self.organ}: {', '.join(parts)}"


def organ_changes(before: LabelMap, after: LabelMap, label_space: LabelSpace,
                  spacing: Spacing3) -> tuple[OrganChange, ...]:
    """Of every organ that differs between two label maps (z, y, x) of one region, in label order."""
    differing = before != after
    values = np.flatnonzero(np.bincount(np.r_[before[differing], after[differing]]))
    voxel_ml = float(np.prod(spacing)) / 1000
    changes = []
    for value in values[values > 0].tolist():
        old, new = before == value, after == value
        gained, lost = int((new & ~old).sum()), int((old & ~new).sum())
        distances = [*_distances(new & ~old, old, spacing), *_distances(old & ~new, new, spacing)]
        changes.append(OrganChange(label_space.names[value - 1], gained * voxel_ml, lost * voxel_ml,
                                   max(distances, default=None)))
    return tuple(changes)


def _distances(changed: Mask, organ: Mask, spacing: Spacing3) -> Iterator[float]:
    """The largest distance (mm) of the changed voxels from the organ, where there are any and it is there."""
    if changed.any() and organ.any():
        yield float(ndimage.distance_transform_edt(~organ, sampling=spacing)[changed].max())
