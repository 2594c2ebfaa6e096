"""The voxels that strokes cover, as a list: nearly all voxels of a CT are in none, and a map of it all is slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import slicer

from .label_box import Box
from .segment_voxels import grid_shift
from .strokes import stroke_segments
from .voxel_counts import labelmap, voxel_array

NOT_DRAWN = 255


@dataclass(frozen=True)
class StrokeVoxels:
    """`at`: (n,) places in the flattened array (z, y, x) of the CT, rising; `values`: (n,) what is drawn there, 0 for
    background. `shape` is that of the CT."""

    at: np.ndarray
    values: np.ndarray
    shape: tuple[int, int, int]

    @classmethod
    def none(cls, shape: Sequence[int]) -> StrokeVoxels:
        """Nothing drawn."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.uint8), (shape[0], shape[1], shape[2]))

    def __len__(self) -> int:
        return len(self.at)

    def without(self, drawn: StrokeVoxels) -> StrokeVoxels:
        """What `drawn` has not, or has with another value."""
        return self.only(~np.isin(self._keys, drawn._keys))

    def only(self, mask: np.ndarray) -> StrokeVoxels:
        """Those of a mask (n,)."""
        return StrokeVoxels(self.at[mask], self.values[mask], self.shape)

    @property
    def _keys(self) -> np.ndarray:
        return self.at * (NOT_DRAWN + 1) + self.values

    def box(self, margins: tuple[int, int, int]) -> Box:
        """Around all of them, of which there is one, with margins in voxels (z, y, x), as far as the CT goes."""
        bounds: list[int] = []
        for places, margin, length in zip(np.unravel_index(self.at, self.shape), margins, self.shape, strict=True):
            bounds += [max(0, int(places.min()) - margin), min(length, int(places.max()) + 1 + margin)]
        return (bounds[0], bounds[1], bounds[2], bounds[3], bounds[4], bounds[5])

    def map_of(self, box: Box) -> np.ndarray:
        """uint8 (z, y, x) of a box: what is drawn, 255 where nothing is."""
        labels = np.full([box[1] - box[0], box[3] - box[2], box[5] - box[4]], NOT_DRAWN, np.uint8)
        k, j, i = np.unravel_index(self.at, self.shape)
        inside = (k >= box[0]) & (k < box[1]) & (j >= box[2]) & (j < box[3]) & (i >= box[4]) & (i < box[5])
        labels[k[inside] - box[0], j[inside] - box[2], i[inside] - box[4]] = self.values[inside]
        return labels


def stroke_voxels(strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode,
                  values: Mapping[str, int]) -> StrokeVoxels | None:
    """What is drawn of the organs in `values` (name to label value) and of the background; None where the strokes do
    not lie on the CT's voxels. What lies beyond the CT is left out."""
    shape = tuple(volume.GetImageData().GetDimensions()[::-1])
    tables: dict[slicer.vtkOrientedImageData, np.ndarray] = {}
    for name, segment_id in stroke_segments(strokes).items():
        segment = strokes.GetSegmentation().GetSegment(segment_id)
        image = labelmap(segment)
        if image is None or name not in values:
            continue
        table = tables.setdefault(image, np.full(NOT_DRAWN + 1, NOT_DRAWN, np.uint8))
        table[segment.GetLabelValue()] = values[name]
    at, drawn = [np.zeros(0, np.int64)], [np.zeros(0, np.uint8)]
    for image, table in tables.items():
        shift = grid_shift(image, strokes, volume)
        if shift is None:
            return None
        places, numbers = _in_layer(image, shift, table, shape)
        at.append(places)
        drawn.append(numbers)
    places, numbers = np.concatenate(at), np.concatenate(drawn)
    order = np.argsort(places, kind="stable")
    return StrokeVoxels(places[order], numbers[order], shape)


def _in_layer(image: slicer.vtkOrientedImageData, shift: tuple[int, int, int], table: np.ndarray,
              shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    array, extent = voxel_array(image), image.GetExtent()
    first = [extent[2 * axis] + shift[axis] for axis in (2, 1, 0)]
    at, drawn = [np.zeros(0, np.int64)], [np.zeros(0, np.uint8)]
    for k, page in enumerate(array, first[0]):
        if not (0 <= k < shape[0] and page.any()):
            continue
        rows, columns = np.nonzero(page)
        numbers = table[page[rows, columns]]
        rows, columns = rows + first[1], columns + first[2]
        inside = ((rows >= 0) & (rows < shape[1]) & (columns >= 0) & (columns < shape[2]) & (numbers != NOT_DRAWN))
        at.append((np.int64(k) * shape[1] + rows[inside]) * shape[2] + columns[inside])
        drawn.append(numbers[inside])
    return np.concatenate(at), np.concatenate(drawn)
