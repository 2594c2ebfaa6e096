"""Cleaning of the merged scores: organs on the wrong side are swapped, stray components lose to the next best class.

Works on the scores at working spacing, so that the native labels need no second pass over a large array.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy import ndimage

from ..imaging.components import Component, components
from ..imaging.shapes import Box3, LabelMap
from ..organ_records import Components, organ_record
from ..organs import LabelSpace

# A component lies on the wrong side when all of it is this far beyond the mid-sagittal plane.
WRONG_SIDE_MM = 15.0


OTHER = Components(8)  # of an organ whose record says nothing of its components


def remove_stray_components(scores: torch.Tensor, labels: np.ndarray, spacing_zyx: tuple[float, float, float],
                            label_space: LabelSpace, midline: float | None) -> None:
    """Applies both steps to `scores` (z, y, x, class) and `labels` (uint8 argmax) in place.

    `midline`: x index of the mid-sagittal plane; the patient's left lies at larger x. None skips the side check.
    """
    if midline is not None:
        for left, right in label_space.mirrored:
            _swap_wrong_sides(scores, labels, left, right, midline, WRONG_SIDE_MM / spacing_zyx[2])
    voxel_ml = float(np.prod(spacing_zyx)) / 1000
    for index, component in list(_strays(scores, labels, label_space, voxel_ml)):
        _to_next_best(scores, labels, index, component)
    # What was given to the next best class may be no part of that organ either.
    for _, component in list(_strays(scores, labels, label_space, voxel_ml)):
        _to_background(scores, labels, component)


def _strays(scores: torch.Tensor, labels: np.ndarray, label_space: LabelSpace,
            voxel_ml: float) -> Iterator[tuple[int, Component]]:
    """(organ, component) of every component that its organ's rule does not keep."""
    for index, box in _boxes(labels, label_space.class_count - 1):
        record = organ_record(label_space.organs[index - 1].name)
        rule = OTHER if record is None or record.components is None else record.components
        found = components(labels, index, box)
        if len(found) > 1:
            found.sort(key=lambda component: -_evidence(scores, index, component))
        least = max(rule.share * found[0].voxels, rule.least_ml / voxel_ml)
        yield from ((index, component) for rank, component in enumerate(found)
                    if rank >= rule.most or component.voxels < least)


def _evidence(scores: torch.Tensor, index: int, component: Component) -> float:
    """How surely a component is the organ: the lead over the next best class, summed over its voxels.

    An elbow may be larger than the head of the femur that it is taken for, but not as sure.
    """
    rows = scores[component.box][torch.from_numpy(component.mask)].float()
    own = rows[:, index].clone()
    rows[:, index] = float("-inf")
    return float((own - rows.max(dim=1).values).sum())


def _boxes(labels: LabelMap, highest: int) -> Iterator[tuple[int, Box3]]:
    """(class, box around all of its voxels) of the classes from 1 to `highest` that are there."""
    boxes = ndimage.find_objects(labels, highest)
    return ((index, box) for index, box in enumerate(boxes, 1) if box is not None)


def _to_next_best(scores: torch.Tensor, labels: np.ndarray, index: int, component: Component) -> None:
    """Gives a component's voxels to their next best class."""
    mask = torch.from_numpy(component.mask)
    region = scores[component.box]
    rows = region[mask]
    rows[:, index] = rows.min(dim=1).values
    region[mask] = rows
    labels[component.box][component.mask] = rows.float().argmax(1).numpy()


def _to_background(scores: torch.Tensor, labels: np.ndarray, component: Component) -> None:
    mask = torch.from_numpy(component.mask)
    region = scores[component.box]
    rows = region[mask]
    rows[:, 0] = rows.max(dim=1).values + 1
    region[mask] = rows
    labels[component.box][component.mask] = 0


def _swap_wrong_sides(scores: torch.Tensor, labels: LabelMap, left: int, right: int, midline: float,
                      beyond: float) -> None:
    boxes = dict(_boxes(labels, max(left, right)))
    moves = []
    for index in (left, right):
        if index in boxes:
            moves += [(component, index) for component in components(labels, index, boxes[index])]
    for component, index in moves:
        first, last = component.box[2].start, component.box[2].stop - 1
        wrong = last < midline - beyond if index == left else first > midline + beyond
        if wrong:
            mask = torch.from_numpy(component.mask)
            region = scores[component.box]
            rows = region[mask]
            rows[:, [left, right]] = rows[:, [right, left]]
            region[mask] = rows
            labels[component.box][component.mask] = right if index == left else left
