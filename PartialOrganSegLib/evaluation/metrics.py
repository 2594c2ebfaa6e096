"""How well a labelmap agrees with what an annotation says: Dice over the voxels whose candidate sets decide it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def dice(predicted: np.ndarray, reference: np.ndarray) -> float | None:
    """`2 |A and B| / (|A| + |B|)` of two bool arrays; None when both are empty: then there is nothing to count."""
    total = int(predicted.sum()) + int(reference.sum())
    return None if total == 0 else 2 * int(np.logical_and(predicted, reference).sum()) / total


def candidate_dice(predicted: np.ndarray, codes: np.ndarray, table: np.ndarray,
                   classes: Sequence[int]) -> tuple[float | None, int]:
    """Dice of a merged class (one or several `classes`) over the voxels that the annotation decides, and the
    reference's voxel count.

    `predicted` (z, y, x) class indices; `codes` (z, y, x) into `table` (K, C) bool. A voxel is the merged class when
    its candidates all are, is not when none is, and is left out when only some are. None where the reference is empty
    and so is the prediction.
    """
    member = np.zeros(table.shape[1], bool)
    member[list(classes)] = True
    inside = ~(table & ~member).any(1)
    outside = ~(table & member).any(1)
    reference = inside[codes]
    decided = reference | outside[codes]
    return dice(member[predicted] & decided, reference), int(reference.sum())
