"""Strokes are obeyed in the CT that they were drawn on: what a model says there is corrected by them, as `refine` does.

A network follows strokes for the most part: what it says of the next patient counts, not this one's last voxel. Whoever
drew on a CT expects to find it there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..annotation import UNKNOWN, CandidateTable
from ..datasets.case import Case
from ..events import Reporter
from ..formats.strokes import NOT_DRAWN
from ..imaging.shapes import LabelMap
from ..imaging.volume import Volume
from ..organs import LabelSpace
from ..refining.session import RefineSession
from ..segmenting.result import SegmentResult


@dataclass(frozen=True)
class Obedience:
    """Of the drawn `voxels` of a CT, the shares that the model's labels agree with: as it has them, and `corrected`."""

    voxels: int
    model: float
    corrected: float


def obeying_strokes(result: SegmentResult, case: Case, space: LabelSpace,
                    reporter: Reporter) -> tuple[SegmentResult, Obedience]:
    """A model's `result` of a CT corrected where its strokes contradict it, and how far it agreed with them.

    `space`: what the values of the case's annotation mean. An organ of it that the model lacks is background to it.
    Raises UserError for strokes that do not fit the CT.
    """
    table = CandidateTable(space.class_count)
    codes = case.read_codes(result.ct, space, table, reporter)
    drawn = codes != UNKNOWN
    allowed = _in_space(table.table, space, result.bundle.label_space)
    agreeing = _agreeing(result.array, codes, allowed)
    strokes = np.full(codes.shape, NOT_DRAWN, np.uint8)
    for code in np.unique(codes[drawn]).tolist():
        labels = np.flatnonzero(allowed[code])
        here = codes == code
        # "None of these organs" leaves a choice: it corrects where it is contradicted, and says nothing elsewhere.
        if len(labels) > 1:
            here &= np.logical_not(agreeing)
        strokes[here] = labels[0]
    corrected = result
    if (strokes != NOT_DRAWN).any():
        session = RefineSession(result.ct, result.labels, result.bundle.label_space)
        corrected = replace(result, labels=session.add(Volume(strokes, result.ct.grid)).labels)
    shares = [float(_agreeing(labels, codes, allowed)[drawn].mean()) if drawn.any() else 1.0
              for labels in (result.array, corrected.array)]
    return corrected, Obedience(int(drawn.sum()), *shares)


def _in_space(table: np.ndarray, source: LabelSpace, target: LabelSpace) -> np.ndarray:
    """(K, classes of `target`) bool: the candidate sets of `table` (K, classes of `source`) in the target's labels."""
    result = np.zeros((len(table), target.class_count), bool)
    result[:, 0] = table[:, 0]
    for organ in source.organs:
        label = target.index(organ.name) if organ.name in target.names else 0
        result[:, label] |= table[:, organ.index]
    return result


def _agreeing(labels: LabelMap, codes: LabelMap, allowed: np.ndarray) -> np.ndarray:
    """(z, y, x) bool: where a label is one of the voxel's candidates."""
    agreeing: np.ndarray = allowed[codes, labels]
    return agreeing
