"""Dice of many segments of the same layers: a layer is looked at once, a whole CT takes a good part of a second."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np
import slicer

from ..scene.voxel_counts import finished, labelmap, layer_on_grid_of, voxel_array

Layers = tuple[slicer.vtkOrientedImageData, ...]


class SegmentDice:
    """Counts a layer when a segment of it is first asked for, and keeps the counts: make a new one after an edit."""

    def __init__(self) -> None:
        self._counts: dict[tuple[object, ...], dict] = {}
        self._resampled: dict[Layers, slicer.vtkOrientedImageData] = {}

    def dice(self, segment: slicer.vtkSegment, compared: slicer.vtkSegment) -> float | None:
        """Of two segments, on the voxels of `segment`; None when both are empty."""
        return finished(self.dice_steps(segment, compared))

    def dice_steps(self, segment: slicer.vtkSegment,
                   compared: slicer.vtkSegment) -> Generator[None, None, float | None]:
        """As `dice`, in pieces of a slice: the first question of a layer takes a good part of a second."""
        layer, compared_layer = labelmap(segment), labelmap(compared)
        if layer is not None and compared_layer is not None:
            compared_layer = self._on_grid_of(compared_layer, layer)
        values = segment.GetLabelValue(), compared.GetLabelValue()
        total = 0
        for image, value in zip((layer, compared_layer), values, strict=True):
            # a segment without voxels has no layer
            if image is not None:
                sizes = yield from self._counted(_sizes, image)
                total += sizes.get(value, 0)
        if not total:
            return None
        if layer is None or compared_layer is None:
            return 0.0
        common = yield from self._counted(_common, layer, compared_layer)
        return 2 * common.get(values, 0) / total

    def _counted(self, count: Callable[..., Generator[None, None, dict]],
                 *layers: slicer.vtkOrientedImageData) -> Generator[None, None, dict]:
        key = (count, *layers)
        if key not in self._counts:
            self._counts[key] = yield from count(*layers)
        return self._counts[key]

    def _on_grid_of(self, image: slicer.vtkOrientedImageData,
                    like: slicer.vtkOrientedImageData) -> slicer.vtkOrientedImageData:
        if (image, like) not in self._resampled:
            self._resampled[image, like] = layer_on_grid_of(image, like)
        return self._resampled[image, like]


def _sizes(image: slicer.vtkOrientedImageData) -> Generator[None, None, dict[int, int]]:
    """Voxels of each label value of a layer; 0 is left out. A piece is a slice, so that no large array is made."""
    counts = np.zeros(_values_of(image), np.int64)
    for values in voxel_array(image):
        counts += np.bincount(values[values > 0], minlength=counts.size)
        yield
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _common(first: slicer.vtkOrientedImageData,
            second: slicer.vtkOrientedImageData) -> Generator[None, None, dict[tuple[int, int], int]]:
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
    # a pair of values becomes one number, so that one bincount counts all pairs of a slice
    width = _values_of(second)
    counts = np.zeros(_values_of(first) * width, np.int64)
    for first_slice, second_slice in zip(_cut(first, box), _cut(second, box), strict=True):
        overlap = (first_slice > 0) & (second_slice > 0)
        pairs = first_slice[overlap].astype(np.intp) * width + second_slice[overlap]
        counts += np.bincount(pairs, minlength=counts.size)
        yield
    return {divmod(int(pair), width): int(counts[pair]) for pair in np.flatnonzero(counts)}


def _values_of(image: slicer.vtkOrientedImageData) -> int:
    """One more than the largest label value that a layer may have."""
    array = voxel_array(image)
    if array.dtype == np.uint8:  # to look for the largest costs as much as to count
        return 256
    return int(array.max()) + 1


def _cut(layer: slicer.vtkOrientedImageData, box: Sequence[tuple[int, int]]) -> np.ndarray:
    """The voxels of a layer inside a box: (low, high) of k, j and i in voxels of the grid, `high` outside."""
    extent = layer.GetExtent()
    slices = tuple(slice(low - start, high - start) for (low, high), start in zip(box, extent[4::-2], strict=True))
    return voxel_array(layer)[slices]
