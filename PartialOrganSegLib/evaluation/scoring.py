"""One prediction against one reference: every figure of every structure that the reference decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..imaging.shapes import Box3, LabelMap, Mask, Spacing3
from ..imaging.surface import surface_distances
from .metrics import candidate_dice, joint_counts, left_open
from .structures import Structure

# Words of the column `found` of scores.csv, and of `measured_on`.
BOTH, NO_REFERENCE, NO_PREDICTION, NEITHER = "both", "not in reference", "not predicted", "in neither"
LEFT_OPEN = "left open"
MASK, STROKES, DECIDED = "mask", "strokes", "decided voxels"


@dataclass(frozen=True)
class Score:
    """The figures of one structure of one case; None is a figure that does not exist, never nought.

    `found`: where the structure is. In neither mask: no figure at all. In one of them: Dice and surface Dice are 0,
    distances are missing (METHODS.md 4). Left open where the reference is sure of no voxel of it, but allows most of
    the prediction: no Dice. `precision`: the share of the prediction that is right (left open: allowed), None without
    one; `recall`: the share of the reference that was found, None without one. `measured_on`: "mask", or, where the
    reference leaves voxels open, "strokes", which only have overlaps, or "decided voxels": overlaps and HD95 over the
    voxels that the reference decides.
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
    hausdorff_mm: float | None = None
    predicted_ml: float | None = None
    reference_ml: float | None = None
    volume_error_ml: float | None = None
    volume_error_percent: float | None = None
    precision: float | None = None
    recall: float | None = None


def score_structures(case: str, predicted: LabelMap, codes: LabelMap, table: Mask, structures: Sequence[Structure],
                     spacing: Spacing3, tolerance_mm: float, strokes: bool = False,
                     counts: npt.NDArray[np.int64] | None = None) -> list[Score]:
    """The figures of each of `structures`.

    `predicted` (z, y, x) class indices, `codes` (z, y, x) into `table` (K, C) bool, `spacing` (z, y, x) mm. `strokes`
    says that the reference was drawn, so that what it leaves open is most of the volume. `counts`: those of
    `joint_counts`, where they are known.
    """
    if counts is None:
        counts = joint_counts(predicted, codes, (table.shape[0], table.shape[1]))
    present = counts.any(1)
    class_boxes, code_boxes = ndimage.find_objects(predicted), ndimage.find_objects(codes)
    scores = []
    for structure in structures:
        in_structure = np.zeros(table.shape[1], bool)
        in_structure[list(structure.classes)] = True
        inside: Mask = np.logical_not((table & ~in_structure).any(1))
        outside: Mask = np.logical_not((table & in_structure).any(1))
        reference_codes = np.flatnonzero(inside & present).tolist()
        # Surfaces and their distances are computed within this box alone: most of a CT is far from any one organ.
        box = _union(_boxes_of(class_boxes, structure.classes) + _boxes_of(code_boxes, reference_codes))
        measured_on = DECIDED
        if strokes:
            measured_on = STROKES
        elif (inside | outside)[present].all():
            measured_on = MASK
        if box is None:
            scores.append(Score(case, structure.name, measured_on, NEITHER))
            continue
        if measured_on == MASK:
            scores.append(_score_masks(case, structure.name, in_structure[predicted[box]], inside[codes[box]], spacing,
                                       tolerance_mm))
            continue
        allowed = left_open(counts, table, structure.classes)
        if allowed is not None:
            scores.append(Score(case, structure.name, measured_on, LEFT_OPEN, precision=allowed))
            continue
        dice, reference_voxels = candidate_dice(counts, table, structure.classes)
        predicted_voxels = int(counts[inside | outside][:, in_structure].sum())
        presence = BOTH
        if dice is None:
            presence = NEITHER
        elif not reference_voxels:
            presence = NO_REFERENCE
        elif not predicted_voxels:
            presence = NO_PREDICTION
        score = Score(case, structure.name, measured_on, presence, dice)
        score = _with_shares(score, int(counts[inside][:, in_structure].sum()), predicted_voxels, reference_voxels)
        if measured_on == DECIDED and presence == BOTH:
            wider = _with_margin(box)
            undecided = np.logical_not(inside | outside)[codes[wider]]
            score = replace(score, hd95_mm=_decided_hd95(in_structure[predicted[wider]], inside[codes[wider]],
                                                         undecided, spacing))
        scores.append(score)
    return scores


def _with_shares(score: Score, overlap: int, predicted: int, reference: int) -> Score:
    """The score with precision and recall, of voxel counts."""
    if predicted:
        score = replace(score, precision=overlap / predicted)
    if reference:
        score = replace(score, recall=overlap / reference)
    return score


def _decided_hd95(predicted: Mask, reference: Mask, undecided: Mask, spacing: Spacing3) -> float | None:
    """HD95 in mm of the surfaces that lie among decided voxels; None where one of the masks has none there."""
    try:
        return surface_distances(predicted, reference, spacing, undecided).hd95
    except ValueError:
        return None


def _boxes_of(boxes: Sequence[Box3 | None], labels: Sequence[int]) -> list[Box3]:
    """Boxes of those of the labels that there are; `boxes`: of the labels from 1 on, as SciPy finds them."""
    present = []
    for label in labels:
        # SciPy's list ends at the largest label of the array, and has nothing for the background.
        if not 0 < label <= len(boxes):
            continue
        box = boxes[label - 1]
        if box is not None:
            present.append(box)
    return present


def _union(boxes: Sequence[Box3]) -> Box3 | None:
    """The smallest box around all boxes; None of none."""
    if not boxes:
        return None
    sides = []
    for parts in zip(*boxes, strict=True):
        sides.append(slice(min(part.start for part in parts), max(part.stop for part in parts)))
    return sides[0], sides[1], sides[2]


def _with_margin(box: Box3) -> Box3:
    """A box and a voxel around it, where undecided voxels may touch what lies in it; the array may end before."""
    z, y, x = (slice(max(0, part.start - 1), part.stop + 1) for part in box)
    return z, y, x


def _score_masks(case: str, name: str, predicted: Mask, reference: Mask, spacing: Spacing3,
                 tolerance_mm: float) -> Score:
    predicted_voxels, reference_voxels = int(predicted.sum()), int(reference.sum())
    excess = predicted_voxels - reference_voxels
    voxel_ml = float(np.prod(spacing)) / 1000
    percent = None
    if reference_voxels:
        percent = 100 * excess / reference_voxels
    score = Score(case, name, MASK, BOTH, predicted_ml=predicted_voxels * voxel_ml,
                  reference_ml=reference_voxels * voxel_ml, volume_error_ml=excess * voxel_ml,
                  volume_error_percent=percent)
    overlap = int((predicted & reference).sum())
    score = _with_shares(score, overlap, predicted_voxels, reference_voxels)
    # A distance to nothing does not exist; nought for the overlaps is what such a case has earned.
    if not reference_voxels:
        return replace(score, found=NO_REFERENCE, dice=0.0, surface_dice=0.0)
    if not predicted_voxels:
        return replace(score, found=NO_PREDICTION, dice=0.0, surface_dice=0.0)
    distances = surface_distances(predicted, reference, spacing)
    return replace(score, dice=2 * overlap / (predicted_voxels + reference_voxels), hd95_mm=distances.hd95,
                   surface_dice=distances.surface_dice(tolerance_mm), assd_mm=distances.assd,
                   hd95_directed_mm=distances.hd95_directed, hausdorff_mm=distances.hausdorff)
