"""How well a labelmap agrees with what an annotation says: Dice over the voxels whose candidate sets decide it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..imaging.shapes import LabelMap, Mask


def dice(predicted: Mask, reference: Mask) -> float | None:
    """`2 |A and B| / (|A| + |B|)` of two bool arrays; None when both are empty: then there is nothing to count."""
    total = int(predicted.sum()) + int(reference.sum())
    if total == 0:
        return None
    return 2 * int(np.logical_and(predicted, reference).sum()) / total


def joint_counts(predicted: LabelMap, codes: LabelMap, shape: tuple[int, int]) -> npt.NDArray[np.int64]:
    """int64 of `shape` (K, C): how many voxels of each of K codes are predicted as each of C classes.

    `predicted` (z, y, x) class indices; `codes` (z, y, x) rows of a candidate table.
    """
    counts = np.zeros(shape, np.int64)
    for plane, marks in zip(predicted, codes, strict=True):
        counts += _plane_counts(plane, marks, shape)
    return counts


def joint_counts_by_slice(predicted: LabelMap, codes: LabelMap, shape: tuple[int, int]) -> npt.NDArray[np.int64]:
    """(Z, K, C) int64: `joint_counts` of each of the Z axial slices."""
    counts = np.zeros((len(codes), *shape), np.int64)
    for of_plane, plane, marks in zip(counts, predicted, codes, strict=True):
        of_plane[:] = _plane_counts(plane, marks, shape)
    return counts


def _plane_counts(predicted: LabelMap, codes: LabelMap, shape: tuple[int, int]) -> npt.NDArray[np.int64]:
    # Indices are eight bytes a voxel: never of a whole CT.
    pairs = np.ravel(codes).astype(np.intp) * shape[1] + np.ravel(predicted)
    return np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)


def candidate_dice(counts: npt.NDArray[np.int64], table: Mask, classes: Sequence[int]) -> tuple[float | None, int]:
    """Dice of a merged class (one or several `classes`) over the voxels that the annotation decides, and the
    reference's voxel count.

    `counts` (K, C) are those of `joint_counts`, `table` (K, C) bool. A voxel is the merged class when its candidates
    all are, is not when none is, and is left out when only some are. None where the reference is empty and so is the
    prediction, or `left_open` the prediction: a coarse label ("head of femur or background") is sure of no voxel.
    """
    in_merged = np.zeros(table.shape[1], bool)
    in_merged[list(classes)] = True
    inside: Mask = np.logical_not((table & ~in_merged).any(1))
    outside: Mask = np.logical_not((table & in_merged).any(1))
    reference = int(counts[inside].sum())
    predicted = int(counts[inside | outside][:, in_merged].sum())
    if not reference and left_open(counts, table, classes) is not None:
        return None, 0
    # 0 would count an organ that is rightly absent as missed, 1 would reward models for small fields of view.
    if reference + predicted == 0:
        return None, 0
    return 2 * int(counts[inside][:, in_merged].sum()) / (reference + predicted), reference


def left_open(counts: npt.NDArray[np.int64], table: Mask, classes: Sequence[int]) -> float | None:
    """The share of what is predicted as a merged class that the annotation allows, where it does not decide the rest.

    Arguments as of `candidate_dice`. None where some voxel is the class for sure, where nothing is predicted as it, and
    where most of that lies in voxels that are not the class: then it is plainly wrong.
    """
    in_merged = np.zeros(table.shape[1], bool)
    in_merged[list(classes)] = True
    sure: Mask = np.logical_not((table & ~in_merged).any(1))
    refused: Mask = np.logical_not((table & in_merged).any(1))
    predicted = int(counts[:, in_merged].sum())
    allowed = predicted - int(counts[refused][:, in_merged].sum())
    if counts[sure].any() or not predicted or 2 * allowed < predicted:
        return None
    return allowed / predicted
