"""What a measurement's Dice are made of: the overlap of each organ in each case, slab by slab, so that two measurements
of the same cases can be compared pair by pair."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from ..atomic import whole_file
from ..evaluation.metrics import joint_counts_by_slice
from ..imaging.shapes import LabelMap, Mask

# Of an organ's slices in a case. More would be thinner, and neighbouring ones more alike.
SLABS = 5


class Overlap(TypedDict):
    """Of an organ in a case, whose image file is `image`: of each slab the voxels in both masks, and the sum of both
    masks' voxels. Plain values, as checkpoints hold nothing else."""

    image: str
    case: str
    organ: str
    slabs: list[tuple[int, int]]


@dataclass(frozen=True)
class Measurement:
    """Dice per organ, mean over its cases, and "mean" over the organs; and the overlaps behind them, none where several
    processes share the cases."""

    dice: dict[str, float]
    overlaps: list[Overlap]


class CaseOverlaps:
    """One case's overlaps of its reference `codes` (z, y, x), rows of `table` (K, C), with `predicted` classes."""

    def __init__(self, predicted: LabelMap, codes: LabelMap, table: Mask) -> None:
        self._table = table
        self._counts = joint_counts_by_slice(predicted, codes, (table.shape[0], table.shape[1]))

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """(K, C) over the whole case."""
        total: npt.NDArray[np.int64] = self._counts.sum(0)
        return total

    def slabs(self, organ: int) -> list[tuple[int, int]]:
        """Of up to `SLABS` slabs with as many of the slices that show the reference's organ, from the first on, the
        overlap and the sum of both masks over decided voxels. What is predicted beyond them counts to the outer ones.
        """
        in_organ = self._table[:, organ]
        inside: Mask = in_organ & (self._table.sum(1) == 1)
        overlap = self._counts[:, inside, organ].sum(1)
        reference = self._counts[:, inside].sum((1, 2))
        predicted = self._counts[:, inside | ~in_organ, organ].sum(1)
        slices = np.flatnonzero(reference)
        if not len(slices):
            return [(0, int(predicted.sum()))]
        parts = np.array_split(slices, min(SLABS, len(slices)))
        # A slab ends where the next begins; the first and the last reach to the ends of the CT.
        starts = [0, *(int(part[0]) for part in parts[1:])]
        both_sums = np.add.reduceat(overlap, starts)
        size_sums = np.add.reduceat(reference + predicted, starts)
        return list(zip(both_sums.tolist(), size_sums.tolist(), strict=True))


def write_overlaps(path: Path, before: Sequence[Overlap], after: Sequence[Overlap]) -> None:
    """A JSON file with the overlaps of the start model and of the model that is written."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps({"before": list(before), "after": list(after)}) + "\n", encoding="utf-8")
