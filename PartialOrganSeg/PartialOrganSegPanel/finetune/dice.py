"""Dice of many segments of the same layers: a layer is looked at once, a whole CT takes a good part of a second."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import slicer

from ..scene.voxel_counts import labelmap, layer_on_grid_of, voxel_array


class SegmentDice:
    """Counts a layer when a segment of it is first asked for, and keeps the counts: make a new one after an edit."""

    def __init__(self) -> None:
        self._sizes, self._common, self._on_grid_of = cache(_sizes), cache(_common), cache(layer_on_grid_of)

    def dice(self, segment: slicer.vtkSegment, compared: slicer.vtkSegment) -> float | None:
        """Of two segments, on the voxels of `segment`; None when both are empty."""
        layer, compared_layer = labelmap(segment), labelmap(compared)
        if layer is not None and compared_layer is not None:
            compared_layer = self._on_grid_of(compared_layer, layer)
        values = segment.GetLabelValue(), compared.GetLabelValue()
        total = 0
        for image, value in zip((layer, compared_layer), values, strict=True):
            # a segment without voxels has no layer
            if image is not None:
                total += self._sizes(image).get(value, 0)
        if not total:
            return None
        if layer is None or compared_layer is None:
            return 0.0
        return 2 * self._common(layer, compared_layer).get(values, 0) / total


def _sizes(image: slicer.vtkOrientedImageData) -> dict[int, int]:
    """Voxels of each label value of a layer; 0 is left out. Slice by slice, so that no large array is made."""
    array = voxel_array(image)
    counts = np.zeros(int(array.max()) + 1, np.int64)
    for values in array:
        counts += np.bincount(values[values > 0], minlength=counts.size)
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _common(first: slicer.vtkOrientedImageData, second: slicer.vtkOrientedImageData) -> dict[tuple[int, int], int]:
    """Voxels of each pair of label values that two layers on one grid have in the same place; 0 is left out."""
    # an extent is (i low, i high, j low, j high, k low, k high), both ends included; arrays are (k, j, i)
    extents = first.GetExtent(), second.GetExtent()
    box = []
    for axis in (4, 2, 0):
        low = max(extent[axis] for extent in extents)
        high = min(extent[axis + 1] for extent in extents) + 1
        if high <= low:
            return {}
        box.append((low, high))
    first_array, second_array = _cut(first, box), _cut(second, box)
    # a pair of values becomes one number, so that one bincount counts all pairs of a slice
    width = int(second_array.max()) + 1
    counts = np.zeros((int(first_array.max()) + 1) * width, np.int64)
    for first_slice, second_slice in zip(first_array, second_array, strict=True):
        overlap = (first_slice > 0) & (second_slice > 0)
        pairs = first_slice[overlap].astype(np.intp) * width + second_slice[overlap]
        counts += np.bincount(pairs, minlength=counts.size)
    return {divmod(int(pair), width): int(counts[pair]) for pair in np.flatnonzero(counts)}


def _cut(layer: slicer.vtkOrientedImageData, box: Sequence[tuple[int, int]]) -> np.ndarray:
    """The voxels of a layer inside a box: (low, high) of k, j and i in voxels of the grid, `high` outside."""
    extent = layer.GetExtent()
    slices = tuple(slice(low - start, high - start) for (low, high), start in zip(box, extent[4::-2], strict=True))
    return voxel_array(layer)[slices]
