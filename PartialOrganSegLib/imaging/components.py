"""What a label map holds: the voxels of each label, and the connected parts of one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .shapes import Box3, LabelMap, Mask

NEIGHBOURS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class Component:
    """A 26-connected part of one class: its `mask` within `box` of the volume, and its voxel count."""

    box: Box3
    mask: Mask
    voxels: int


def components(labels: LabelMap, index: int, box: Box3 | None = None) -> list[Component]:
    """All components of label `index` (z, y, x), largest first. `box` may bound the label, to save time."""
    if box is None:
        depth, height, width = labels.shape
        box = (slice(0, depth), slice(0, height), slice(0, width))
    parts, count = ndimage.label(labels[box] == index, NEIGHBOURS)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    listed = []
    for number, place in enumerate(ndimage.find_objects(parts), 1):
        # `place` counts from the corner of the box.
        z, y, x = (slice(outer.start + inner.start, outer.start + inner.stop)
                   for outer, inner in zip(box, place, strict=True))
        listed.append(Component((z, y, x), parts[place] == number, int(sizes[number])))
    return sorted(listed, key=lambda component: -component.voxels)


def voxel_counts(array: LabelMap, values: int) -> npt.NDArray[np.int64]:
    """(values,) int64: voxels of each label below `values`, plane by plane, as bincount works on eight bytes a voxel.

    >>> voxel_counts(np.array([[[0, 2, 2]], [[1, 2, 0]]], np.uint8), 4).tolist()
    [2, 1, 3, 0]
    """
    total = np.zeros(values, np.int64)
    for plane in array:
        total += np.bincount(plane.ravel(), minlength=values)[:values]
    return total
