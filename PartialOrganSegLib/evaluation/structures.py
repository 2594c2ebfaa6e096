"""Which structures a case can judge: organs, or several as one where its label does not tell them apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..annotation import Kind
from ..datasets.case import Case
from ..organs import LabelSpace


@dataclass(frozen=True)
class Structure:
    """One organ, or several as one ("colon or rectum"). `classes`: their label values."""

    name: str
    classes: tuple[int, ...]

    @property
    def title(self) -> str:
        """The name as a person reads it."""
        return self.name.replace("_", " ")


def scored_structures(case: Case, codes: np.ndarray, table: np.ndarray, space: LabelSpace) -> list[Structure]:
    """What a prediction of this case is judged on.

    `codes` (z, y, x) into `table` (K, C) bool. Of a full label that is every organ, of a partial one the annotated
    ones, of strokes what was drawn. Where voxels of a label may be one of several organs ("colon or rectum"), these
    are judged as one, and none of them alone.
    """
    present = table[np.flatnonzero(np.bincount(codes.ravel(), minlength=len(table)))]
    if case.kind in (Kind.SCRIBBLE, Kind.UNLABELLED):
        drawn = present[present.sum(1) == 1].any(0)
        return [_structure((index,), space) for index in range(1, space.class_count) if drawn[index]]
    vouched = set(range(1, space.class_count) if case.kind is Kind.FULL else space.indices(case.annotated))
    vouched |= set(np.flatnonzero(present[present.sum(1) == 1].any(0)).tolist()) - {0}  # strokes beside a label
    coarse = {tuple(np.flatnonzero(row).tolist()) for row in present if row.sum() > 1 and not row[0]}
    vague = {index for classes in coarse for index in classes}
    return [_structure(classes, space) for classes in sorted({(index,) for index in vouched - vague}
                                                             | {classes for classes in coarse
                                                                if set(classes) <= vouched})]


def _structure(classes: tuple[int, ...], space: LabelSpace) -> Structure:
    return Structure("_or_".join(space.names[index - 1] for index in classes), classes)
