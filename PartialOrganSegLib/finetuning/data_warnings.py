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
from .cases import PreparedCase
from .data_warning import DataWarning, DataWarningKind

# Of a CT's voxels; strokes are some per cent.
MOSTLY_DRAWN_SHARE = 0.5
# Of organs that a case denies; more of them would say little.
LONGEST_LIST = 3


def data_warnings(cases: Sequence[PreparedCase], space: LabelSpace) -> Iterator[DataWarning]:
    """What is noticed, case by case. Raises UserError when no voxel of any is labelled, as organ or with a stroke."""
    if not any(case.organs or (case.labelled and case.kind is Kind.SCRIBBLE) for case in cases):
        raise UserError(code=Code.NO_LABELS, subject="nothing to learn from",
                        expected=f"a voxel labelled in one of {len(cases)} cases", found="none")
    names = (BACKGROUND, *space.names)
    for case in cases:
        yield from _too_little(case, names)
    yield from _denied_and_shown(cases, names)
    for first, second in combinations(cases, 2):
        if first.image_sha256 == second.image_sha256:
            if first.group != second.group:
                yield DataWarning(DataWarningKind.SAME_IMAGE, first.name, other=second.name)
            yield from _contradictions(first, second, names)


def _too_little(case: PreparedCase, names: Sequence[str]) -> Iterator[DataWarning]:
    if case.kind is not Kind.UNLABELLED and not case.organs:
        denied = [names[label] for label in range(1, len(names)) if case.denies(label)]
        if len(denied) > LONGEST_LIST:
            denied = []
        yield DataWarning(DataWarningKind.NOTHING_LABELLED, case.name, tuple(denied))
    yield from _unlikely_strokes(case, names)
    for label in case.organs:
        if len(case.slices[label]) == 1:
            yield DataWarning(DataWarningKind.SINGLE_SLICE, case.name, (names[label],), (case.voxels[label],))


def _unlikely_strokes(case: PreparedCase, names: Sequence[str]) -> Iterator[DataWarning]:
    """Strokes almost everywhere, or organs that nothing holds back."""
    drawn_share = 1 - case.set_voxels[UNKNOWN] / sum(case.set_voxels)
    if case.kind is Kind.SCRIBBLE and drawn_share > MOSTLY_DRAWN_SHARE:
        largest = max(range(OUTSIDE + 1, len(case.candidate_sets)), key=case.set_voxels.__getitem__)
        yield DataWarning(DataWarningKind.MOSTLY_DRAWN, case.name, _short_names(case.candidate_sets[largest], names),
                          (drawn_share,))
    boundless = [names[label] for label in case.organs if not case.absent(label)]
    if boundless:
        yield DataWarning(DataWarningKind.NO_BACKGROUND, case.name, tuple(boundless))


def _denied_and_shown(cases: Sequence[PreparedCase], names: Sequence[str]) -> Iterator[DataWarning]:
    """Full labels in which an organ is missing that another case shows: absent in that patient, or forgotten?"""
    for case in cases:
        if case.kind is not Kind.FULL:
            continue
        possible = frozenset().union(*case.candidate_sets[OUTSIDE + 1:])
        for label in range(1, len(names)):
            showing = [shown.name for shown in cases if label in shown.organs]
            if label not in possible and showing:
                yield DataWarning(DataWarningKind.ORGAN_DENIED, case.name, (names[label],), other=showing[0], full=True)


def _contradictions(first: PreparedCase, second: PreparedCase, names: Sequence[str]) -> Iterator[DataWarning]:
    """The same image, labelled twice: voxels whose candidate sets have nothing in common."""
    first_map, second_map = read_labelmap(first.candidate_map).array, read_labelmap(second.candidate_map).array
    if first_map.shape != second_map.shape:
        return
    # Voxels by their candidate sets in both.
    counts = joint_counts(second_map, first_map, (len(first.candidate_sets), len(second.candidate_sets)))
    total, largest = 0, 0
    classes: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())
    for i, j in np.argwhere(counts):
        # Classes that both allow leave it open who is right.
        pair = (first.candidate_sets[i], second.candidate_sets[j])
        if pair[0] & pair[1]:
            continue
        total += int(counts[i, j])
        if counts[i, j] > largest:
            largest, classes = int(counts[i, j]), pair
    if total:
        yield DataWarning(DataWarningKind.CONTRADICTION, first.name, _short_names(classes[0], names), (total,),
                          second.name, _short_names(classes[1], names))


def _short_names(classes: frozenset[int], names: Sequence[str]) -> tuple[str, ...]:
    """The names of one or two classes; none of more, which would be a long list."""
    if len(classes) > 2:
        return ()
    return tuple(names[label] for label in sorted(classes))
