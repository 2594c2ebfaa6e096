"""Which structures a case can score: organs, or several as one where its label does not tell them apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..annotation import Kind
from ..datasets.case import Case
from ..imaging.shapes import LabelMap, Mask
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


def scored_structures(case: Case, codes: LabelMap, table: Mask, space: LabelSpace) -> list[Structure]:
    """What a prediction of this case is scored on.

    `codes` (z, y, x) into `table` (K, C) bool. Of a full label that is every organ, of a partial one the annotated
    ones, of strokes what was drawn. Where voxels of a label may be one of several organs ("colon or rectum"), these
    are scored as one, and none of them alone.
    """
    present = table[np.flatnonzero(np.bincount(codes.ravel(), minlength=len(table)))]
    certain = present[present.sum(1) == 1].any(0)  # classes that some voxel is for sure
    if case.kind in (Kind.SCRIBBLE, Kind.UNLABELLED):
        return [_structure((index,), space) for index in range(1, space.class_count) if certain[index]]
    annotated = set(space.indices(case.annotated))
    if case.kind is Kind.FULL:
        annotated = set(range(1, space.class_count))
    annotated |= set(np.flatnonzero(certain).tolist()) - {0}  # strokes beside a label
    # A set with background in it says that a voxel may be no organ at all: that is no class to score.
    merged = {tuple(np.flatnonzero(row).tolist()) for row in present if row.sum() > 1 and not row[0]}
    classes = {group for group in merged if annotated.issuperset(group)}
    # An organ that some voxels only may be has no mask of its own.
    classes |= {(index,) for index in annotated.difference(*merged)}
    return [_structure(group, space) for group in sorted(classes)]


def _structure(classes: tuple[int, ...], space: LabelSpace) -> Structure:
    return Structure("_or_".join(space.names[index - 1] for index in classes), classes)
