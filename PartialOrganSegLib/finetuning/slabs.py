"""Slabs of axial slices in which some organs of a case are left out of training, to be measured there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..annotation import CandidateTable
from ..formats.reading import read_labelmap
from ..formats.writing import write_labelmap
from ..imaging.components import voxel_counts
from ..imaging.volume import Grid, Volume
from ..real_paths import real_path
from ..training.evaluator import CONTEXT_SLICES
from .case_preparation import sets_of
from .cases import PreparedCase

# Of an organ's labelled slices; organs with fewer slices are not measured.
SHARE, LEAST_SLICES = 0.2, 5
# Share of an organ's slices in another organ's slab, with which that is its slab too.
NEAR_ENOUGH = (0.1, 0.3)
# Of a case; each means candidate sets of its own, of which a run can tell 256 apart.
MOST_SLABS = 6


@dataclass(frozen=True)
class Slab:
    """Axial slices, counted from below, from the first to the one before `end`, and the `organs` left out there."""

    first: int
    end: int
    organs: frozenset[int]


def choose_slabs(slices: Mapping[int, npt.NDArray[np.intp]], place: float) -> list[Slab]:
    """Slabs with about a fifth of each organ's labelled `slices`, at the fraction `place` of these from below.

    Every organ has one slab, which organs of like extent share; those beyond `MOST_SLABS` have none.
    """
    slabs: list[Slab] = []
    # Organs of few slices first: a slab that leaves enough of them fits into the extent of larger ones.
    for label in sorted((label for label in slices if label), key=lambda label: (len(slices[label]), label)):
        organ_slices = slices[label]
        if len(organ_slices) < LEAST_SLICES:
            continue
        shared = _shared_slab(slabs, organ_slices)
        if shared is not None:
            slabs[shared] = replace(slabs[shared], organs=slabs[shared].organs | {label})
        elif len(slabs) < MOST_SLABS:
            count = max(1, round(SHARE * len(organ_slices)))
            first = min(int(place * len(organ_slices)), len(organ_slices) - count)
            last = int(organ_slices[first + count - 1])
            slabs.append(Slab(int(organ_slices[first]), last + 1, frozenset({label})))
    return slabs


def _shared_slab(slabs: Sequence[Slab], slices: npt.NDArray[np.intp]) -> int | None:
    """The number of the slab that holds about a fifth of an organ's `slices` too; None where none does."""
    for number, slab in enumerate(slabs):
        share = float(((slices >= slab.first) & (slices < slab.end)).mean())
        if NEAR_ENOUGH[0] <= share <= NEAR_ENOUGH[1]:
            return number
    return None


def measurable_slabs(cases: Sequence[PreparedCase], slabs: Sequence[Slab]) -> list[Slab]:
    """The slabs of an image with those of their organs that some voxel in them is not, by one of its `cases`.

    Masks say that of every slab, strokes perhaps of none; and where no voxel is, more of an organ is always better.
    """
    sets_in_slab: list[set[frozenset[int]]] = [set() for _ in slabs]
    for case in cases:
        axial = read_labelmap(case.candidate_map).canonical().array
        for slab_sets, slab in zip(sets_in_slab, slabs, strict=True):
            slab_sets |= {case.candidate_sets[code] for code in np.unique(axial[slab.first:slab.end])}
    measurable = []
    for slab_sets, slab in zip(sets_in_slab, slabs, strict=True):
        # A class that all sets of the slab allow is denied nowhere in it.
        allowed_everywhere = frozenset.intersection(*slab_sets)
        organs = slab.organs - allowed_everywhere
        if organs:
            measurable.append(replace(slab, organs=organs))
    return measurable


def split_by_slabs(case: PreparedCase, slabs: Sequence[Slab], folder: Path) -> tuple[PreparedCase, PreparedCase]:
    """The case without what it says of the slabs' organs there, and a case that says only that.

    Their candidate maps go into `folder`. Outside its slab, and of organs without one, a case goes on to say what it
    said.
    """
    labels = read_labelmap(case.candidate_map)
    order = labels.grid.axis_order()
    axial = order.to_canonical(labels.array)
    all_classes, shown = case.candidate_sets[0], frozenset(case.organs)
    outside, inside = CandidateTable(len(all_classes)), CandidateTable(len(all_classes))
    outside_map, inside_map = np.empty_like(axial), np.empty_like(axial)
    for z, plane in enumerate(axial):
        hidden = frozenset().union(*(slab.organs for slab in slabs if slab.first <= z < slab.end))
        outside_organs = shown - hidden if hidden else all_classes
        outside_map[z] = _codes_for(case, outside, outside_organs)[plane]
        inside_map[z] = _codes_for(case, inside, hidden)[plane]
    extent = max((slab.end for slab in slabs), default=0) - min((slab.first for slab in slabs), default=0)
    # In slices of the working spacing, with what the network sees around them.
    measured_slices = -(-extent * case.shape[0] // len(axial)) + 2 * CONTEXT_SLICES
    measured_shape = (min(case.shape[0], measured_slices), case.shape[1], case.shape[2])
    training = _written(case, outside, order.from_canonical(outside_map), labels.grid, folder, "rest")
    measured = _written(case, inside, order.from_canonical(inside_map), labels.grid, folder, "slab")
    return training, replace(measured, name=f"{case.name} (slab)", measured_shape=measured_shape)


def _codes_for(case: PreparedCase, table: CandidateTable, organs: frozenset[int]) -> npt.NDArray[np.uint8]:
    """(K,) the codes in `table` of the case's K candidate sets where only `organs` are spoken of."""
    all_classes = case.candidate_sets[0]
    return np.array([table.code(known_of(organs, classes, all_classes)) for classes in case.candidate_sets], np.uint8)


def known_of(organs: frozenset[int], classes: frozenset[int], all_classes: frozenset[int]) -> frozenset[int]:
    """What remains of a candidate set when only of `organs` it is said where they are and are not."""
    if classes <= organs:
        return classes
    return classes & organs | (all_classes - organs)


def _written(case: PreparedCase, table: CandidateTable, codes: npt.NDArray[np.uint8], grid: Grid, folder: Path,
             part: str) -> PreparedCase:
    target = folder / case.candidate_map.name.replace(".codes.", f".{part}.")
    write_labelmap(target, Volume(np.ascontiguousarray(codes), grid))
    return replace(case, candidate_map=real_path(target), candidate_sets=sets_of(table),
                   set_voxels=tuple(voxel_counts(codes, len(table.table)).tolist()))
