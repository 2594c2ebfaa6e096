"""From scores at working spacing to labels on the native grid, without ever holding native scores.

A native voxel takes, of the classes that its eight working neighbours have, the one with the largest linearly
interpolated score. So no organ appears between voxels without it, whatever was cleaned away. Where the eight agree on
a class that class is the answer, exactly; only at organ borders are scores interpolated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from .shapes import Affine, LabelMap

SLAB = 16  # native slices at a time: what is held beside the result stays small
PIECE = 1 << 18  # places that are interpolated at a time: each takes some 350 bytes
MIXED = 255

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]
VoxelNumbers = npt.NDArray[np.int64]


def agreement(labels: Bytes) -> Bytes:
    """uint8 (z, y, x): class on which voxel (z, y, x) and its 7 neighbours further on agree, else `MIXED`."""
    low, high = labels, labels
    for axis, size in enumerate(labels.shape):
        further = np.minimum(np.arange(size) + 1, size - 1)  # the last voxel is its own neighbour
        low = np.minimum(low, low.take(further, axis))
        high = np.maximum(high, high.take(further, axis))
    return np.where(low == high, low, MIXED).astype(np.uint8)


class NativeLabels:
    """Reads labels at any place of a working grid. `scores`: float16 (z, y, x, class), or a table (n, class) with the
    row of each voxel in `row_of` (z, y, x); `labels`: their uint8 argmax.

    `written`: (class count,) uint8, the value written for each class (0 for organs nobody asked for). Without
    `only_neighbours` a class that none of the neighbours has may be the largest between them, too.
    """

    def __init__(self, scores: torch.Tensor, labels: Bytes, written: Bytes, only_neighbours: bool = True,
                 row_of: npt.NDArray[np.int32] | None = None) -> None:
        self._row_of: torch.Tensor | None = None
        if row_of is not None:
            self._row_of = torch.from_numpy(row_of.reshape(-1))
        self._scores = scores.reshape(-1, scores.shape[-1])
        self._labels: torch.Tensor | None = None
        if only_neighbours:
            self._labels = torch.from_numpy(labels.reshape(-1))
        self._shape = labels.shape
        self._agreed = agreement(labels)
        # A table for all bytes, so that MIXED stays what it is.
        self._written = np.full(256, MIXED, np.uint8)
        self._written[:len(written)] = written

    def write_aligned(self, out: LabelMap) -> None:
        """Fills `out` (z, y, x), a grid with the working grid's edges and axes."""
        cells: list[VoxelNumbers] = []
        parts: list[Floats] = []
        for native_size, working_size in zip(out.shape, self._shape, strict=True):
            cell, part = _cells(native_size, working_size)
            cells.append(cell)
            parts.append(part)
        for start in range(0, out.shape[0], SLAB):
            slab = self._agreed[cells[0][start:start + SLAB]].take(cells[1], axis=1).take(cells[2], axis=2)
            z, y, x = np.nonzero(slab == MIXED)
            slab = self._written[slab]
            if len(z):
                index = [cells[0][start + z], cells[1][y], cells[2][x]]
                slab[z, y, x] = self._interpolated(index, [parts[0][start + z], parts[1][y], parts[2][x]])
            out[start:start + SLAB] = slab

    def write_turned(self, out: LabelMap, to_working: Affine) -> None:
        """Fills `out` (z, y, x), whose index (x, y, z, 1) `to_working` (4, 4) takes to that on the working grid."""
        y, x = np.meshgrid(np.arange(out.shape[1]), np.arange(out.shape[2]), indexing="ij")
        # Arrays are indexed (z, y, x), the matrix is (x, y, z).
        by_axis = to_working[[2, 1, 0]]
        in_plane = [row[0] * x + row[1] * y + row[3] for row in by_axis]
        for z in range(out.shape[0]):
            places: list[Floats] = []
            cells: list[VoxelNumbers] = []
            for start, row, size in zip(in_plane, by_axis, self._shape, strict=True):
                place = np.clip(start + row[2] * z, 0, size - 1)
                places.append(place)
                cells.append(np.minimum(place.astype(np.int64), max(size - 2, 0)))
            classes = self._agreed[cells[0], cells[1], cells[2]]
            mixed = classes == MIXED
            labels = self._written[classes]
            if mixed.any():
                index = [cell[mixed] for cell in cells]
                parts = [(place[mixed] - cell).astype(np.float32) for place, cell in zip(places, index, strict=True)]
                labels[mixed] = self._interpolated(index, parts)
            out[z] = labels

    def _interpolated(self, cell: list[VoxelNumbers], part: list[Floats]) -> Bytes:
        """Written label of each place: `part` (0..1) of the way from voxel `cell` to the next, lists of z, y, x."""
        pieces = []
        for start in range(0, len(cell[0]), PIECE):
            places = slice(start, start + PIECE)
            pieces.append(self._interpolated_piece([axis[places] for axis in cell], [axis[places] for axis in part]))
        return np.concatenate(pieces)

    def _interpolated_piece(self, cell: list[VoxelNumbers], part: list[Floats]) -> Bytes:
        strides = (self._shape[1] * self._shape[2], self._shape[2], 1)
        rows = np.empty((len(cell[0]), 8), np.int64)
        weights = np.empty((len(cell[0]), 8), np.float32)
        for corner in range(8):
            row = np.zeros(len(cell[0]), np.int64)
            weight = np.ones(len(cell[0]), np.float32)
            for axis in range(3):
                is_next = corner >> axis & 1
                row += np.minimum(cell[axis] + is_next, self._shape[axis] - 1) * strides[axis]
                weight *= part[axis] if is_next else 1 - part[axis]
            rows[:, corner], weights[:, corner] = row, weight
        # The weighted sum of eight rows of a table is what an embedding bag computes, in one pass over memory.
        neighbours = torch.from_numpy(rows)
        in_table = neighbours
        if self._row_of is not None:
            in_table = self._row_of[neighbours].long()
        interpolated = F.embedding_bag(in_table, self._scores, mode="sum",
                                       per_sample_weights=torch.from_numpy(weights).to(self._scores.dtype))
        if self._labels is None:
            winners = interpolated.float().max(1).indices
        else:
            classes = self._labels[neighbours].long()
            best = interpolated.gather(1, classes).float().max(1, keepdim=True).indices
            winners = classes.gather(1, best).squeeze(1)
        written: Bytes = self._written[winners.numpy()]
        return written


def _cells(size: int, working: int) -> tuple[VoxelNumbers, Floats]:
    """Of `size` native voxels over the same length as `working` ones: the cell of each and its place in it (0..1)."""
    place = np.clip((np.arange(size) + 0.5) * working / size - 0.5, 0, working - 1)
    cell = np.minimum(place.astype(np.int64), max(working - 2, 0))
    return cell, (place - cell).astype(np.float32)
