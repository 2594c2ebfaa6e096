"""What a person should know of the cases before a run: too little in them, or one saying the opposite of another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from ..annotation import OUTSIDE, UNKNOWN, Kind
from ..errors import Code, UserError
from ..evaluation.metrics import joint_counts
from ..formats.reading import read_labelmap
from ..organs import BACKGROUND, LabelSpace
from .cases import TakenCase
from .data_warning import DataWarning, DataWarningKind

MOST_DRAWN = 0.5  # of a CT's voxels; strokes are some per cent


def data_warnings(cases: Sequence[TakenCase], space: LabelSpace) -> Iterator[DataWarning]:
    """What is noticed, case by case. Raises UserError when no voxel of any is labelled, as organ or with a stroke."""
    if not any(case.organs or (case.labelled and case.kind is Kind.SCRIBBLE) for case in cases):
        raise UserError(code=Code.NO_LABELS, subject="nothing to learn from",
                        expected=f"a voxel labelled in one of {len(cases)} cases", found="none")
    names = (BACKGROUND, *space.names)
    for case in cases:
        if case.kind is not Kind.UNLABELLED and not case.organs:
            denied = [names[label] for label in range(1, len(names)) if case.absent(label) == sum(case.counts)]
            yield DataWarning(DataWarningKind.NOTHING_LABELLED, case.name, tuple(denied) if len(denied) < 4 else ())
        yield from _unlikely_strokes(case, names)
        for label in case.organs:
            if len(case.slices[label]) == 1:
                yield DataWarning(DataWarningKind.SINGLE_SLICE, case.name, (names[label],), (case.voxels[label],))
    yield from _absent_here_labelled_there(cases, names)
    for one, other in combinations(cases, 2):
        if one.image_sha256 == other.image_sha256:
            if one.group != other.group:
                yield DataWarning(DataWarningKind.SAME_IMAGE, one.name, other=other.name)
            yield from _contradictions(one, other, names)


def _unlikely_strokes(case: TakenCase, names: Sequence[str]) -> Iterator[DataWarning]:
    """Strokes almost everywhere, or organs that nothing holds back."""
    drawn = 1 - case.counts[UNKNOWN] / sum(case.counts)
    if case.kind is Kind.SCRIBBLE and drawn > MOST_DRAWN:
        yield DataWarning(DataWarningKind.MOSTLY_DRAWN, case.name, _few(_most(case), names), (drawn,))
    boundless = [names[label] for label in case.organs if not case.absent(label)]
    if boundless:
        yield DataWarning(DataWarningKind.NO_BACKGROUND, case.name, tuple(boundless))


def _most(case: TakenCase) -> frozenset[int]:
    """The candidate set with the most voxels among those drawn."""
    return case.sets[max(range(OUTSIDE + 1, len(case.sets)), key=case.counts.__getitem__)]


def _absent_here_labelled_there(cases: Sequence[TakenCase], names: Sequence[str]) -> Iterator[DataWarning]:
    """Full labels in which an organ is missing that others show: absent in that patient, or forgotten?"""
    for case in (case for case in cases if case.kind is Kind.FULL):
        possible = frozenset().union(*case.sets[OUTSIDE + 1:])
        for label in range(1, len(names)):
            showing = [other.name for other in cases if label in other.organs]
            if label not in possible and showing:
                yield DataWarning(DataWarningKind.ORGAN_DENIED, case.name, (names[label],), other=showing[0], full=True)


def _contradictions(one: TakenCase, other: TakenCase, names: Sequence[str]) -> Iterator[DataWarning]:
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
        yield DataWarning(DataWarningKind.CONTRADICTION, one.name, _few(a, names), (total,), other.name, _few(b, names))


def _few(classes: frozenset[int], names: Sequence[str]) -> tuple[str, ...]:
    """The names of one or two classes; none of more, which would be a long list."""
    return tuple(names[label] for label in sorted(classes)) if len(classes) < 3 else ()
