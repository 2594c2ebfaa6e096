"""What a label map holds: the voxels of each label, and the connected parts of one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

NEIGHBOURS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class Component:
    """A 26-connected part of one class: its `mask` within `box` of the volume, and its voxel count."""

    box: tuple[slice, slice, slice]
    mask: np.ndarray
    voxels: int


def components(labels: np.ndarray, index: int, box: tuple[slice, slice, slice] | None = None) -> list[Component]:
    """All components of label `index` (z, y, x), largest first. `box` may bound the label, to save time."""
    box = box or tuple(slice(0, size) for size in labels.shape)
    parts, count = ndimage.label(labels[box] == index, NEIGHBOURS)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    found = []
    for number, place in enumerate(ndimage.find_objects(parts), 1):
        outer = tuple(slice(b.start + p.start, b.start + p.stop) for b, p in zip(box, place, strict=True))
        found.append(Component(outer, parts[place] == number, int(sizes[number])))
    return sorted(found, key=lambda component: -component.voxels)


def voxel_counts(array: np.ndarray, values: int) -> np.ndarray:
    """(values,) int64: voxels of each label below `values`, plane by plane, as bincount works on eight bytes a voxel.

    >>> voxel_counts(np.array([[[0, 2, 2]], [[1, 2, 0]]], np.uint8), 4).tolist()
    [2, 1, 3, 0]
    """
    total = np.zeros(values, np.int64)
    for plane in array:
        total += np.bincount(plane.ravel(), minlength=values)[:values]
    return total
