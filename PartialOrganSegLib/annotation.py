"""What an annotation says: for each voxel, the set of classes it may be.

A full label, a partial label, a coarse label, a scribble and no label at all differ only in their candidate sets
(a non-empty subset of the label space, background included). A case is kept as a *candidate map*: one small integer a
voxel, its code, and a table that says which classes each code stands for. Two codes always mean the same: `UNKNOWN`, an
unlabelled voxel of the image, which may be anything; and `OUTSIDE`, a voxel of a patch that no image has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import Code, UserError
from .organs import LabelSpace

Labels: TypeAlias = npt.NDArray[np.integer[Any]]
UNKNOWN = 0
OUTSIDE = 1
# Candidate maps are uint8, and one of the 256 codes is `OUTSIDE`, which has no set of its own.
MAXIMUM_SETS = 255


class Kind(str, Enum):
    """How a case was annotated."""

    FULL = "full"
    PARTIAL = "partial"
    SCRIBBLE = "scribble"
    UNLABELLED = "unlabelled"


class CandidateTable:
    """All candidate sets of a training run, numbered. `UNKNOWN` and `OUTSIDE` have the whole label space.

    `table` is (codes, classes) bool: `table[code, c]` says whether a voxel of that code may be class `c`.
    """

    def __init__(self, class_count: int) -> None:
        self.class_count = class_count
        self._codes: dict[frozenset[int], int] = {frozenset(range(class_count)): UNKNOWN}

    def code(self, classes: Iterable[int]) -> int:
        """The code of a candidate set, new or known. Raises ValueError for an empty set or an unknown class."""
        candidates = frozenset(int(c) for c in classes)
        if not candidates or not candidates <= set(range(self.class_count)):
            raise ValueError(f"candidate set {sorted(candidates)} must be a non-empty subset of "
                             f"0..{self.class_count - 1}")
        if candidates not in self._codes:
            if len(self._codes) >= MAXIMUM_SETS:
                raise UserError(code=Code.VALUE_OUT_OF_RANGE,
                                found=f"more than {MAXIMUM_SETS} different candidate sets in one run")
            self._codes[candidates] = len(self._codes) + 1  # after `OUTSIDE`, which is no entry
        return self._codes[candidates]

    @property
    def table(self) -> npt.NDArray[np.bool_]:
        """(codes, classes) bool."""
        table = np.zeros((len(self._codes) + 1, self.class_count), bool)
        # Nothing is said of such a voxel, so no class is excluded; that it counts in no loss, the code itself says.
        table[OUTSIDE] = True
        for candidates, code in self._codes.items():
            table[code, list(candidates)] = True
        return table

    def translation(self, candidate_sets: Iterable[Iterable[int]]) -> npt.NDArray[np.uint8]:
        """(codes of another table,) uint8: the code here of each of its `candidate_sets`, in the order of its codes."""
        codes = [self.code(classes) for classes in candidate_sets]
        codes[OUTSIDE] = OUTSIDE  # its set alone would make it unknown
        return np.array(codes, np.uint8)

    def singletons(self) -> dict[int, int]:
        """code -> class of the codes that leave no choice."""
        return {code: next(iter(candidates)) for candidates, code in self._codes.items() if len(candidates) == 1}


def label_candidates(kind: Kind, annotated: Sequence[str], label_map: Mapping[int, Sequence[str]],
                     label_space: LabelSpace, values: Iterable[int],
                     ignored: Sequence[str] = ()) -> dict[int, frozenset[int]]:
    """Label value -> candidate set, for the label values of a full or partial case.

    `label_map` overrides what a value means: a list of names is "one of" (a coarse label). Other values mean the
    organ of that number. Where a value's organ is not among the `annotated` ones, the case does not vouch for it: the
    voxel may be that organ, the background or any other organ without annotation. The background of a partial label
    is everything except the annotated organs (merged background; Shi 2021 section 3, Fang 2020 equation 8).
    A value that means one of the `ignored` organs is not to be trusted: the voxel may be what it says or anything that
    is not annotated.
    """
    full = frozenset(range(label_space.class_count))
    vouched = full - {0}
    if kind is Kind.PARTIAL:
        vouched = frozenset(label_space.indices(annotated))
    untrusted = frozenset(label_space.indices(ignored))
    merged = full - vouched  # of a full label that is the background alone
    candidates = {}
    for value in values:
        if value in label_map:
            classes = frozenset(label_space.indices(label_map[value]))
            # Of an organ that is not to be trusted the voxel may also be what a merged background may be.
            candidates[value] = classes | merged if classes & untrusted else classes
        elif value == 0:
            candidates[value] = merged
        # An unknown value is refused, not taken as unknown: it is mostly the sign of a wrong label space.
        elif not 0 < value < label_space.class_count:
            raise UserError(code=Code.UNKNOWN_LABEL, subject=f"label value {value}",
                            expected=f"0..{label_space.class_count - 1} or a value of label_map")
        elif value in vouched:
            candidates[value] = frozenset({value})
        else:
            candidates[value] = merged | {value}
    return candidates


def encode_labels(labels: Labels, candidates: Mapping[int, frozenset[int]],
                  table: CandidateTable) -> npt.NDArray[np.uint8]:
    """uint8 candidate map of a label array: each value replaced by the code of its candidate set."""
    lookup = np.zeros(int(max(candidates, default=0)) + 1, np.uint8)
    for value, classes in candidates.items():
        lookup[value] = table.code(classes)
    candidate_map: npt.NDArray[np.uint8] = lookup[labels]
    return candidate_map


def encode_scribble(scribble: Labels, table: CandidateTable, not_drawn: int = 255,
                    meaning: Mapping[int, frozenset[int]] | None = None) -> npt.NDArray[np.uint8]:
    """uint8 candidate map of a scribble map: `{c}` where class c is drawn (0: background), anything elsewhere.

    `meaning`: candidate sets of values that stand for something else than their class.
    """
    # What nobody drew stays unknown; of a few hundred strokes most of the volume.
    codes = np.full(scribble.shape, UNKNOWN, np.uint8)
    for value in np.unique(scribble).tolist():
        if meaning and value in meaning:
            codes[scribble == value] = table.code(meaning[value])
        elif value != not_drawn:
            codes[scribble == value] = table.code({value})
    return codes
