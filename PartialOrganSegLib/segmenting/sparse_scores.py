"""Scores of the few voxels of a CT that an organ is near to; everywhere else there is background.

All scores of a CT of 1200 slices would take more memory than the CT itself, and most of a second to be filled. What
works on scores takes either kind: a tensor of all voxels, or these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from ..imaging.shapes import Box3, Mask, Shape3

PIECE = 1 << 18  # rows that are turned into float32 at a time


@dataclass(frozen=True, eq=False)
class SparseScores:
    """Scores of a grid's voxels.

    `table` (n, class) float16: row 0 is what all voxels have that are not stored, whose best class is 0. `row_of`
    (z, y, x) int32: each voxel's row.
    """

    table: torch.Tensor
    row_of: npt.NDArray[np.int32]

    def best_classes(self) -> npt.NDArray[np.uint8]:
        """uint8 (z, y, x): class with the highest score; the first of several."""
        best = np.zeros(len(self.table), np.uint8)
        for start in range(0, len(self.table), PIECE):
            # With the classes first: over a last axis as short as this the maximum takes many times as long.
            rows = self.table[start:start + PIECE].float().t().contiguous()
            best[start:start + PIECE] = rows.max(0).indices
        labels: npt.NDArray[np.uint8] = best[self.row_of]
        return labels


Scores: TypeAlias = torch.Tensor | SparseScores
"""float16 (z, y, x, class), or those of some voxels."""


def rows_at(scores: Scores, box: Box3, mask: Mask) -> torch.Tensor:
    """(n, class): the scores of the voxels of `mask` within `box`, a copy."""
    if isinstance(scores, SparseScores):
        return scores.table[torch.from_numpy(scores.row_of[box][mask])]
    return scores[box][torch.from_numpy(mask)]


def put_rows(scores: Scores, box: Box3, mask: Mask, rows: torch.Tensor) -> None:
    """Changes the scores of the voxels of `mask` within `box` to `rows` (n, class), or to the same (class,) each.

    Voxels that are not stored stay background.
    """
    if not isinstance(scores, SparseScores):
        scores[box][torch.from_numpy(mask)] = rows
        return
    numbers = torch.from_numpy(scores.row_of[box][mask]).long()
    if rows.ndim == 1:
        rows = rows.expand(len(numbers), -1)
    stored = numbers > 0
    scores.table[numbers[stored]] = rows[stored]


class ScoreTable:
    """Scores that come slice by slice and network by network, and become `SparseScores` in the end."""

    def __init__(self, shape: Shape3, background: torch.Tensor) -> None:
        """`background` (class,) float16: the scores of a voxel that nothing was said of."""
        self._shape, self._background = shape, background
        empty = torch.zeros(0, dtype=torch.long)
        self._slices = [(empty, background[None][:0]) for _ in range(shape[0])]

    def rows(self, z: int, voxels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The scores (n, class) of a slice in which the flat indices `voxels` (int64, ascending) are stored from now on
        as well, and the number of each of these among the rows. To be changed in place."""
        before, rows = self._slices[z]
        # By marks on the slice: sorting and searching take several times as long.
        marks = torch.zeros(self._shape[1] * self._shape[2], dtype=torch.int32)
        marks[before] = 1
        marks[voxels] = 1
        stored = marks.nonzero()[:, 0]
        place = marks.cumsum(0, dtype=torch.int32).sub_(1)
        grown = self._background.repeat(len(stored), 1)
        grown[place[before].long()] = rows
        self._slices[z] = stored, grown
        return grown, place[voxels].long()

    def scores(self) -> SparseScores:
        """All of them; the table is empty afterwards."""
        lengths = [len(voxels) for voxels, _ in self._slices]
        table = torch.empty((1 + sum(lengths), len(self._background)), dtype=self._background.dtype)
        table[0] = self._background
        row_of, start = np.zeros(self._shape, np.int32), 1
        # Slice after slice goes over, so that all are never held twice.
        self._slices.reverse()
        for z, length in enumerate(lengths):
            voxels, rows = self._slices.pop()
            row_of[z].reshape(-1)[voxels.numpy()] = np.arange(start, start + length)
            table[start:start + length] = rows
            start += length
        return SparseScores(table, row_of)
