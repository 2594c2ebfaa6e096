"""What a person should know of the cases before a run: too little in them, or one saying the opposite of another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from ..annotation import UNKNOWN, Kind
from ..datasets.case import NOT_DRAWN
from ..errors import UserError
from ..evaluation.metrics import joint_counts
from ..formats.reading import read_labelmap
from ..organs import BACKGROUND, LabelSpace
from .cases import TakenCase

MOST_DRAWN = 0.5  # of a CT's voxels; strokes are some per cent


def doubts(cases: Sequence[TakenCase], space: LabelSpace) -> Iterator[str]:
    """A line for each. Raises UserError when no voxel of any case is labelled, as an organ or with a stroke."""
    if not any(case.organs or (case.labelled and case.kind is Kind.SCRIBBLE) for case in cases):
        raise UserError(f"nothing to learn from: expected a voxel labelled in one of {len(cases)} cases, found none")
    names = (BACKGROUND, *space.names)
    for case in cases:
        if case.kind is not Kind.UNLABELLED and not case.organs:
            denied = [names[label] for label in range(1, len(names)) if case.absent(label) == sum(case.counts)]
            teaches = f", which teaches that there is no {' and no '.join(denied)}" if 0 < len(denied) < 4 else ""
            yield f"{case.name}: no voxel is labelled as an organ{teaches}"
        yield from _unlikely_strokes(case, names)
        for label in case.organs:
            if len(case.slices[label]) == 1:
                yield (f"{case.name}: {names[label]} is labelled in a single slice ({case.voxels[label]} voxels); "
                       "expect little of it")
    yield from _absent_here_labelled_there(cases, names)
    for one, other in combinations(cases, 2):
        if one.image_sha256 == other.image_sha256:
            if one.group != other.group:
                yield f"{one.name} and {other.name} show the same image; what is left out of one is left out of both"
            yield from _contradictions(one, other, names)


def _unlikely_strokes(case: TakenCase, names: Sequence[str]) -> Iterator[str]:
    """Strokes almost everywhere, or organs that nothing holds back."""
    drawn = 1 - case.counts[UNKNOWN] / sum(case.counts)
    if case.kind is Kind.SCRIBBLE and drawn > MOST_DRAWN:
        yield (f"{case.name}: {drawn:.0%} of the CT is drawn, most of it as {_said(_most(case), names)}; in a scribble "
               f"file {NOT_DRAWN} means not drawn and 0 background")
    boundless = [names[label] for label in case.organs if not case.absent(label)]
    if boundless:
        yield (f"{case.name}: no voxel is drawn that is not {' or '.join(boundless)}; nothing keeps it from growing, "
               "draw some background")


def _most(case: TakenCase) -> frozenset[int]:
    """The candidate set with the most voxels among those drawn."""
    return case.sets[max(range(1, len(case.sets)), key=case.counts.__getitem__)]


def _absent_here_labelled_there(cases: Sequence[TakenCase], names: Sequence[str]) -> Iterator[str]:
    """Full labels in which an organ is missing that others show: absent in that patient, or forgotten?"""
    for case in (case for case in cases if case.kind is Kind.FULL):
        possible = frozenset().union(*case.sets[1:])
        for label in range(1, len(names)):
            showing = [other.name for other in cases if label in other.organs]
            if label not in possible and showing:
                yield (f"{case.name}: its full label says there is no {names[label]}, which {showing[0]} shows; if it "
                       "was only not drawn, make the case partial")


def _contradictions(one: TakenCase, other: TakenCase, names: Sequence[str]) -> Iterator[str]:
    """The same image, labelled twice: voxels whose candidate sets have nothing in common."""
    first, second = (read_labelmap(case.codes).array for case in (one, other))
    if first.shape != second.shape:
        return
    counts = joint_counts(second, first, (len(one.sets), len(other.sets)))
    found = [(int(counts[a, b]), one.sets[a], other.sets[b]) for a, b in np.argwhere(counts)]
    against = sorted(((count, a, b) for count, a, b in found if not a & b), key=lambda entry: -entry[0])
    if against:
        total = sum(count for count, _, _ in against)
        _, a, b = against[0]
        yield (f"{one.name} and {other.name} show the same image and contradict each other in {total} voxels (most: "
               f"{_said(a, names)} against {_said(b, names)}); both are learnt from")


def _said(classes: frozenset[int], names: Sequence[str]) -> str:
    return " or ".join(names[label] for label in sorted(classes)) if len(classes) < 3 else "something else"
