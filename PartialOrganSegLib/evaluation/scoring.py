"""One prediction against one reference: every figure of every structure that the reference can judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ..imaging.surface import surface_distances
from .metrics import candidate_dice, joint_counts
from .structures import Structure

BOTH, NO_REFERENCE, NO_PREDICTION, NEITHER = "both", "not in reference", "not predicted", "in neither"
MASK, STROKES, DECIDED = "mask", "strokes", "decided voxels"


@dataclass(frozen=True)
class Score:
    """The figures of one structure of one case; None is a figure that does not exist, never nought.

    `found`: where the structure is. In neither mask: no figure at all. In one of them: Dice and surface Dice are 0,
    distances are missing (METHODS.md 4). `measured_on`: "mask", or, where the reference leaves voxels open, "strokes",
    which only have a Dice, or "decided voxels": Dice and HD95 over the voxels that the reference decides.
    """

    case: str
    structure: str
    measured_on: str
    found: str
    dice: float | None = None
    hd95_mm: float | None = None
    surface_dice: float | None = None
    assd_mm: float | None = None
    hd95_directed_mm: float | None = None
    predicted_ml: float | None = None
    reference_ml: float | None = None
    volume_error_ml: float | None = None
    volume_error_percent: float | None = None


def score_structures(case: str, predicted: np.ndarray, codes: np.ndarray, table: np.ndarray, structures: Sequence[Structure],
          spacing: tuple[float, ...], tolerance_mm: float, strokes: bool = False) -> list[Score]:
    """The figures of each of `structures`.

    `predicted` (z, y, x) class indices, `codes` (z, y, x) into `table` (K, C) bool, `spacing` (z, y, x) mm. `strokes`
    says that the reference was drawn, so that what it leaves open is most of the volume.
    """
    counts = joint_counts(predicted, codes, table.shape)
    present = counts.any(1)
    boxes = (ndimage.find_objects(predicted), ndimage.find_objects(codes))
    scores = []
    for structure in structures:
        member = np.zeros(table.shape[1], bool)
        member[list(structure.classes)] = True
        inside, outside = ~(table & ~member).any(1), ~(table & member).any(1)
        box = _box(boxes, structure.classes, np.flatnonzero(inside & present))
        if box is None:
            scores.append(Score(case, structure.name, STROKES if strokes else MASK, NEITHER))
            continue
        whole = bool((inside | outside)[present].all())
        measured_on = MASK if whole and not strokes else STROKES if strokes else DECIDED
        if measured_on == MASK:
            scores.append(_score_masks(case, structure.name, member[predicted[box]], inside[codes[box]], spacing,
                                       tolerance_mm))
        else:
            value, voxels = candidate_dice(counts, table, structure.classes)
            found = NEITHER if value is None else BOTH if voxels else NO_REFERENCE
            score = Score(case, structure.name, measured_on, found, value)
            if measured_on == DECIDED and found == BOTH:
                masks = member[predicted[box]], inside[codes[box]], ~(inside | outside)[codes[box]]
                score = replace(score, hd95_mm=_decided_hd95(*masks, spacing))
            scores.append(score)
    return scores


def _decided_hd95(predicted: np.ndarray, reference: np.ndarray, undecided: np.ndarray,
                  spacing: tuple[float, ...]) -> float | None:
    """HD95 in mm of the surfaces that lie among decided voxels; None where one of the masks has none there."""
    try:
        return surface_distances(predicted, reference, spacing, undecided).hd95
    except ValueError:
        return None


def _box(boxes: tuple[list[tuple[slice, ...] | None], ...], classes: Sequence[int],
         codes: Sequence[int]) -> tuple[slice, ...] | None:
    """Around every voxel of these predicted classes and of these reference codes; None when there is none."""
    found = [within[value - 1] for within, values in zip(boxes, (classes, codes), strict=True) for value in values
             if 0 < value <= len(within) and within[value - 1] is not None]
    if not found:
        return None
    return tuple(slice(min(box[axis].start for box in found), max(box[axis].stop for box in found))
                 for axis in range(3))


def _score_masks(case: str, name: str, predicted: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...],
                 tolerance_mm: float) -> Score:
    ours, theirs = int(predicted.sum()), int(reference.sum())
    voxel_ml = float(np.prod(spacing)) / 1000
    volumes = {"predicted_ml": ours * voxel_ml, "reference_ml": theirs * voxel_ml,
               "volume_error_ml": (ours - theirs) * voxel_ml,
               "volume_error_percent": 100 * (ours - theirs) / theirs if theirs else None}
    if not ours or not theirs:
        return Score(case, name, MASK, NO_PREDICTION if theirs else NO_REFERENCE, dice=0.0, surface_dice=0.0, **volumes)
    distances = surface_distances(predicted, reference, spacing)
    return Score(case, name, MASK, BOTH, dice=2 * int((predicted & reference).sum()) / (ours + theirs),
                 hd95_mm=distances.hd95, surface_dice=distances.surface_dice(tolerance_mm), assd_mm=distances.assd,
                 hd95_directed_mm=distances.hd95_directed, **volumes)
