"""Slabs of axial slices in which some organs of a case are left out of training, to be measured there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..annotation import CandidateTable
from ..formats.reading import read_labelmap
from ..formats.writing import write_labelmap
from ..imaging.components import voxel_counts
from ..imaging.volume import Grid, Volume
from ..training.evaluator import CONTEXT_SLICES
from .cases import TakenCase

SHARE, LEAST_SLICES = 0.2, 5  # of an organ's labelled slices; organs with fewer slices are not measured
NEAR_ENOUGH = (0.1, 0.3)  # share of an organ's slices in another organ's slab, with which that is its slab too
MOST_SLABS = 6  # of a case; each means candidate sets of its own, of which a run can tell 256 apart


@dataclass(frozen=True)
class Slab:
    """Axial slices, counted from below, from the first to the one before `end`, and the `organs` left out there."""

    first: int
    end: int
    organs: frozenset[int]


def choose_slabs(slices: Mapping[int, np.ndarray], place: float) -> list[Slab]:
    """Slabs with about a fifth of each organ's labelled `slices`, at the fraction `place` of these from below.

    Every organ has one slab, which organs of like extent share; those beyond `MOST_SLABS` have none.
    """
    slabs: list[Slab] = []
    for label in sorted((label for label in slices if label), key=lambda label: (len(slices[label]), label)):
        own = slices[label]
        if len(own) < LEAST_SLICES:
            continue
        for number, slab in enumerate(slabs):
            share = float(((own >= slab.first) & (own < slab.end)).mean())
            if NEAR_ENOUGH[0] <= share <= NEAR_ENOUGH[1]:
                slabs[number] = replace(slab, organs=slab.organs | {label})
                break
        else:
            if len(slabs) < MOST_SLABS:
                count = max(1, round(SHARE * len(own)))
                first = min(int(place * len(own)), len(own) - count)
                slabs.append(Slab(int(own[first]), int(own[first + count - 1]) + 1, frozenset({label})))
    return slabs


def judged(cases: Sequence[TakenCase], slabs: Sequence[Slab]) -> list[Slab]:
    """The slabs of an image with those of their organs that something there is not, by one of its `cases`.

    Masks say that of every slab, strokes perhaps of none; and where nothing is, more of an organ is always better.
    """
    said: list[set[frozenset[int]]] = [set() for _ in slabs]
    for case in cases:
        axial = read_labelmap(case.codes).canonical().array
        for found, slab in zip(said, slabs, strict=True):
            found |= {case.sets[code] for code in np.unique(axial[slab.first:slab.end])}
    kept = []
    for found, slab in zip(said, slabs, strict=True):
        organs = frozenset(label for label in slab.organs if any(label not in classes for classes in found))
        kept += [replace(slab, organs=organs)] if organs else []
    return kept


def split_by_slabs(case: TakenCase, slabs: Sequence[Slab], folder: Path) -> tuple[TakenCase, TakenCase]:
    """The case without what it says of the slabs' organs there, and a case that says only that.

    Their code maps go into `folder`. Outside its slab, and of other organs, a case goes on to say what it said.
    """
    labels = read_labelmap(case.codes)
    order = labels.grid.axis_order()
    axial = order.to_canonical(labels.array)
    everything, shown = case.sets[0], frozenset(case.organs)
    rest, inside = (CandidateTable(len(everything)) for _ in range(2))
    codes = {table: np.empty_like(axial) for table in (rest, inside)}
    for z, plane in enumerate(axial):
        hidden = frozenset().union(*(slab.organs for slab in slabs if slab.first <= z < slab.end))
        for table, organs in ((rest, shown - hidden if hidden else everything), (inside, hidden)):
            codes[table][z] = np.array([table.code(known_of(organs, classes, everything)) for classes in case.sets],
                                       np.uint8)[plane]
    own = max((slab.end for slab in slabs), default=0) - min((slab.first for slab in slabs), default=0)
    seen = min(case.shape[0], -(-own * case.shape[0] // len(axial)) + 2 * CONTEXT_SLICES)
    return (_written(case, rest, order.from_canonical(codes[rest]), labels.grid, folder, "rest"),
            replace(_written(case, inside, order.from_canonical(codes[inside]), labels.grid, folder, "slab"),
                    name=f"{case.name} (slab)", seen=(seen, *case.shape[1:])))


def known_of(organs: frozenset[int], classes: frozenset[int], everything: frozenset[int]) -> frozenset[int]:
    """What remains of a candidate set when only of `organs` it is said where they are and are not."""
    return classes if classes <= organs else classes & organs | (everything - organs)


def _written(case: TakenCase, table: CandidateTable, codes: np.ndarray, grid: Grid, folder: Path,
             what: str) -> TakenCase:
    target = folder / case.codes.name.replace(".codes.", f".{what}.")
    write_labelmap(target, Volume(np.ascontiguousarray(codes), grid))
    return replace(case, codes=target.resolve(), counts=tuple(voxel_counts(codes, len(table.table)).tolist()),
                   sets=tuple(frozenset(np.flatnonzero(row).tolist()) for row in table.table))
