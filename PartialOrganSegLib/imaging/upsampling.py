"""From scores at working spacing to labels on the native grid, without ever holding native scores.

A native voxel takes, of the classes that its eight working neighbours have, the one with the largest linearly
interpolated score. So no organ appears between voxels without it, whatever was cleaned away. Where the eight agree on
a class that class is the answer, exactly; only at organ borders are scores interpolated.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

SLAB = 16
MIXED = 255


def agreement(labels: np.ndarray) -> np.ndarray:
    """uint8 (z, y, x): class on which voxel (z, y, x) and its 7 neighbours further on agree, else `MIXED`."""
    low, high = labels, labels
    for axis in range(3):
        further = [slice(None)] * 3
        further[axis] = np.minimum(np.arange(labels.shape[axis]) + 1, labels.shape[axis] - 1)
        low = np.minimum(low, low[tuple(further)])
        high = np.maximum(high, high[tuple(further)])
    return np.where(low == high, low, MIXED).astype(np.uint8)


class NativeLabels:
    """Reads labels at any place of a working grid. `scores`: float16 (z, y, x, class), `labels`: their uint8 argmax.

    `written`: (class count,) uint8, the value written for each class (0 for organs nobody asked for). Without
    `only_neighbours` a class that none of the neighbours has may be the largest between them, too.
    """

    def __init__(self, scores: torch.Tensor, labels: np.ndarray, written: np.ndarray,
                 only_neighbours: bool = True) -> None:
        self._rows = scores.reshape(-1, scores.shape[-1])
        self._labels = torch.from_numpy(labels.reshape(-1)) if only_neighbours else None
        self._shape = np.array(labels.shape)
        self._agreed = agreement(labels)
        table = np.full(256, MIXED, np.uint8)
        table[:len(written)] = written
        self._written = table

    def write_aligned(self, out: np.ndarray) -> None:
        """Fills `out` (z, y, x), a grid with the working grid's edges and axes."""
        cells, parts = zip(*(_cells(n, int(size)) for n, size in zip(out.shape, self._shape, strict=True)), strict=True)
        for start in range(0, out.shape[0], SLAB):
            slab = self._agreed[cells[0][start:start + SLAB]].take(cells[1], axis=1).take(cells[2], axis=2)
            z, y, x = np.nonzero(slab == MIXED)
            slab = self._written[slab]
            if len(z):
                index = [cells[0][start + z], cells[1][y], cells[2][x]]
                slab[z, y, x] = self._interpolated(index, [parts[0][start + z], parts[1][y], parts[2][x]])
            out[start:start + SLAB] = slab

    def write_turned(self, out: np.ndarray, to_working: np.ndarray) -> None:
        """Fills `out` (z, y, x) whose index (x, y, z, 1) is `to_working` (4, 4) @ index on the working grid."""
        y, x = np.meshgrid(np.arange(out.shape[1]), np.arange(out.shape[2]), indexing="ij")
        last = self._shape - 1
        plane = [to_working[2 - a, 0] * x + to_working[2 - a, 1] * y + to_working[2 - a, 3] for a in range(3)]
        for z in range(out.shape[0]):
            places = [np.clip(plane[a] + to_working[2 - a, 2] * z, 0, last[a]) for a in range(3)]
            cells = [np.minimum(place.astype(np.int64), max(int(n) - 1, 0))
                     for place, n in zip(places, last, strict=True)]
            found = self._agreed[cells[0], cells[1], cells[2]]
            mixed = found == MIXED
            found = self._written[found]
            if mixed.any():
                index = [cell[mixed] for cell in cells]
                found[mixed] = self._interpolated(index, [(place[mixed] - cell).astype(np.float32)
                                                          for place, cell in zip(places, index, strict=True)])
            out[z] = found

    def _interpolated(self, cell: list[np.ndarray], part: list[np.ndarray]) -> np.ndarray:
        """Written label of each place: `part` (0..1) of the way from voxel `cell` to the next, lists of z, y, x."""
        strides = (self._shape[1] * self._shape[2], self._shape[2], 1)
        rows = np.empty((len(cell[0]), 8), np.int64)
        weights = np.empty((len(cell[0]), 8), np.float32)
        for corner in range(8):
            row, weight = 0, 1.0
            for axis in range(3):
                on = corner >> axis & 1
                row = row + np.minimum(cell[axis] + on, self._shape[axis] - 1) * strides[axis]
                weight = weight * (part[axis] if on else 1 - part[axis])
            rows[:, corner], weights[:, corner] = row, weight
        # The weighted sum of eight rows of a table is what an embedding bag computes, in one pass over memory.
        neighbours = torch.from_numpy(rows)
        mixed = F.embedding_bag(neighbours, self._rows, mode="sum",
                                per_sample_weights=torch.from_numpy(weights).to(self._rows.dtype))
        if self._labels is None:
            return self._written[mixed.float().max(1).indices.numpy()]
        classes = self._labels[neighbours].long()
        best = mixed.gather(1, classes).float().max(1, keepdim=True).indices
        return self._written[classes.gather(1, best).squeeze(1).numpy()]


def _cells(size: int, working: int) -> tuple[np.ndarray, np.ndarray]:
    """Of `size` native voxels over the same length as `working` ones: the cell of each and its place in it (0..1)."""
    place = np.clip((np.arange(size) + 0.5) * working / size - 0.5, 0, working - 1)
    cell = np.minimum(place.astype(np.int64), max(working - 2, 0))
    return cell, (place - cell).astype(np.float32)
