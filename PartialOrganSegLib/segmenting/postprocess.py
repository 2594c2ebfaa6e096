"""Cleaning of the merged scores: organs on the wrong side are swapped, stray components lose to the next best class,
organs of the abdomen in the chest to the background.

Works on the scores at working spacing, so that the native labels need no second pass over a large array.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

import numpy as np
from scipy import ndimage

from ..imaging.components import Component, components
from ..imaging.shapes import Box3, LabelMap, Spacing3
from ..organ_records import Components, organ_record
from ..organs import LabelSpace
from .body_regions import below_the_chest, diaphragm, mostly_beyond
from .sparse_scores import Scores, put_rows, rows_at

# A component lies on the wrong side when all of it is this far beyond the mid-sagittal plane.
WRONG_SIDE_MM = 15.0
LIVER = "liver"
USUAL_RULE = Components(8)  # for an organ whose record says nothing of its components


def remove_stray_components(scores: Scores, labels: LabelMap, spacing_zyx: Spacing3, label_space: LabelSpace,
                            midline: float | None) -> None:
    """Applies all steps to `scores` and `labels` (uint8 argmax) in place.

    `midline`: x index of the mid-sagittal plane; the patient's left lies at larger x. None skips the side check.
    """
    if midline is not None:
        for left, right in label_space.mirrored:
            _swap_wrong_sides(scores, labels, left, right, midline, WRONG_SIDE_MM / spacing_zyx[2])
    voxel_ml = float(np.prod(spacing_zyx)) / 1000
    grown: set[int] = set()
    for index, component in list(_strays(scores, labels, label_space, voxel_ml)):
        grown |= _to_next_best(scores, labels, index, component)
    # What was given to the next best class may be no part of that organ either.
    for _, component in list(_strays(scores, labels, label_space, voxel_ml, grown)):
        _to_background(scores, labels, component)
    for component in list(_in_the_chest(labels, label_space, voxel_ml, spacing_zyx[0])):
        _to_background(scores, labels, component)


def _in_the_chest(labels: LabelMap, label_space: LabelSpace, voxel_ml: float, step_mm: float) -> Iterator[Component]:
    """Components of organs that reach into no chest, well above the diaphragm.

    A network that learnt from abdomens calls gas, contrast and bone of a chest what looks like them there.
    """
    boxes = dict(_boxes(labels, label_space.class_count - 1))
    liver = None
    if LIVER in label_space.names and (index := label_space.index(LIVER)) in boxes:
        liver = components(labels, index, boxes[index])[0]
    height = diaphragm(liver, voxel_ml, step_mm, len(labels))
    if height is None:
        return
    for index, box in boxes.items():
        # Most organs of most CTs end far below.
        if box[0].stop * step_mm > height and below_the_chest(label_space.organs[index - 1].name):
            for component in components(labels, index, box):
                if mostly_beyond(component, step_mm, height, is_above=True):
                    yield component


def _strays(scores: Scores, labels: LabelMap, label_space: LabelSpace, voxel_ml: float,
            among: Container[int] | None = None) -> Iterator[tuple[int, Component]]:
    """(organ, component) of every component that its organ's rule does not keep; `among`: of these organs alone."""
    for index, box in _boxes(labels, label_space.class_count - 1):
        if among is not None and index not in among:
            continue
        rule = _rule(label_space.organs[index - 1].name)
        ranked = components(labels, index, box)
        if len(ranked) > 1:
            ranked.sort(key=lambda component: -_evidence(scores, index, component))
        # The surest component is the organ's, whatever its size; small ones beside it are not.
        min_voxels = max(rule.share * ranked[0].voxels, rule.least_ml / voxel_ml)
        for rank, component in enumerate(ranked):
            if rank >= rule.most or component.voxels < min_voxels:
                yield index, component


def _rule(organ: str) -> Components:
    """Which components of an organ are kept."""
    record = organ_record(organ)
    if record is None or record.components is None:
        return USUAL_RULE
    return record.components


def _evidence(scores: Scores, index: int, component: Component) -> float:
    """How surely a component is the organ: the lead over the next best class, summed over its voxels.

    An elbow may be larger than the head of the femur that it is taken for, but not as sure.
    """
    logits = rows_at(scores, component.box, component.mask).float()
    organ_logits = logits[:, index].clone()
    logits[:, index] = float("-inf")
    return float((organ_logits - logits.max(dim=1).values).sum())


def _boxes(labels: LabelMap, highest: int) -> Iterator[tuple[int, Box3]]:
    """(class, box around all of its voxels) of the classes from 1 to `highest` that are there."""
    for index, box in enumerate(ndimage.find_objects(labels, highest), 1):
        if box is not None:
            yield index, box


def _to_next_best(scores: Scores, labels: LabelMap, index: int, component: Component) -> set[int]:
    """Gives a component's voxels to their next best class; the classes that got any."""
    logits = rows_at(scores, component.box, component.mask)
    logits[:, index] = logits.min(dim=1).values
    put_rows(scores, component.box, component.mask, logits)
    best = logits.float().argmax(1).numpy()
    labels[component.box][component.mask] = best
    return set(np.unique(best).tolist())


def _to_background(scores: Scores, labels: LabelMap, component: Component) -> None:
    logits = rows_at(scores, component.box, component.mask)
    logits[:, 0] = logits.max(dim=1).values + 1
    put_rows(scores, component.box, component.mask, logits)
    labels[component.box][component.mask] = 0


def _swap_wrong_sides(scores: Scores, labels: LabelMap, left: int, right: int, midline: float,
                      margin: float) -> None:
    """Gives components that lie `margin` voxels or more beyond the midline to the organ's twin."""
    moves = []
    for index, box in _boxes(labels, max(left, right)):
        if index in (left, right):
            moves += [(component, index) for component in components(labels, index, box)]
    for component, index in moves:
        first, last = component.box[2].start, component.box[2].stop - 1
        if index == left:
            is_wrong, twin = last < midline - margin, right
        else:
            is_wrong, twin = first > midline + margin, left
        if is_wrong:
            logits = rows_at(scores, component.box, component.mask)
            # Their scores change places too, so that the border between organs runs where it did.
            logits[:, [left, right]] = logits[:, [right, left]]
            put_rows(scores, component.box, component.mask, logits)
            labels[component.box][component.mask] = twin
