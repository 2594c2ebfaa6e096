"""Dice of many segments of the same layers: a layer is looked at once, a whole CT takes a good part of a second."""

from __future__ import annotations

from functools import cache

import numpy as np
import slicer

from ..scene.voxel_counts import labelmap, layer_on_grid_of, voxel_array


class SegmentDice:
    """Counts a layer when a segment of it is first asked for, and keeps the counts: make a new one after an edit."""

    def __init__(self) -> None:
        self._sizes, self._common, self._on_grid_of = cache(_sizes), cache(_common), cache(layer_on_grid_of)

    def dice(self, segment: slicer.vtkSegment, other: slicer.vtkSegment) -> float | None:
        """Of two segments, on the voxels of `segment`; None when both are empty."""
        image, other_image = labelmap(segment), labelmap(other)
        if image is not None and other_image is not None:
            other_image = self._on_grid_of(other_image, image)
        values = segment.GetLabelValue(), other.GetLabelValue()
        total = sum(self._sizes(one).get(value, 0) for one, value in zip((image, other_image), values, strict=True)
                    if one is not None)
        if not total:
            return None
        if image is None or other_image is None:
            return 0.0
        return 2 * self._common(image, other_image).get(values, 0) / total


def _sizes(image: slicer.vtkOrientedImageData) -> dict[int, int]:
    """Voxels of each label value of a layer; 0 is left out. Slice by slice, so that no large array is made."""
    array = voxel_array(image)
    counts = np.zeros(int(array.max()) + 1, np.int64)
    for values in array:
        counts += np.bincount(values[values > 0], minlength=counts.size)
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _common(image: slicer.vtkOrientedImageData, other: slicer.vtkOrientedImageData) -> dict[tuple[int, int], int]:
    """Voxels of each pair of label values that two layers on one grid have in the same place; 0 is left out."""
    one, two = image.GetExtent(), other.GetExtent()
    box = [(max(one[axis], two[axis]), min(one[axis + 1], two[axis + 1]) + 1) for axis in (4, 2, 0)]
    if any(high <= low for low, high in box):
        return {}
    first, second = (voxel_array(layer)[tuple(slice(low - extent[axis], high - extent[axis])
                                              for (low, high), axis in zip(box, (4, 2, 0), strict=True))]
                     for layer, extent in ((image, one), (other, two)))
    width = int(second.max()) + 1
    counts = np.zeros((int(first.max()) + 1) * width, np.int64)
    for first_slice, second_slice in zip(first, second, strict=True):
        both = (first_slice > 0) & (second_slice > 0)
        counts += np.bincount(first_slice[both].astype(np.intp) * width + second_slice[both], minlength=counts.size)
    return {divmod(int(pair), width): int(counts[pair]) for pair in np.flatnonzero(counts)}
