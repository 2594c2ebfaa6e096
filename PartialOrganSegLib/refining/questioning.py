"""Which labels a stroke puts in question: those that it contradicts, a grazed one near by alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..imaging.shapes import LabelMap, Mask, Spacing3
from .regions import box_of, padded_box

# A stroke goes through the middle of an error: what less than this share of it lies in was grazed, or is a splinter of
# the error that is called something else.
GRAZED_SHARE, GRAZED_MM = 0.1, 10.0


def in_question(labels: LabelMap, stroke: Mask, may_change: npt.NDArray[np.bool_], spacing: Spacing3) -> Mask:
    """(z, y, x) the voxels whose label a stroke makes doubtful.

    `stroke`: (z, y, x) its voxels that contradict `labels`, at least one. `may_change`: (256,) of each label, whether
    it may lose voxels. `spacing` (z, y, x) mm.
    """
    counts = np.bincount(labels[stroke], minlength=256)
    contradicted = (counts > 0) & may_change
    doubtful: Mask = contradicted[labels]
    for label in np.flatnonzero(contradicted & (counts < GRAZED_SHARE * counts.sum())).tolist():
        has_label = labels == label
        doubtful &= ~has_label | _near(stroke & has_label, spacing)
    return doubtful


def _near(mask: Mask, spacing: Spacing3) -> Mask:
    """(z, y, x) within `GRAZED_MM` of a mask that has voxels."""
    box = padded_box(box_of(mask), GRAZED_MM, spacing, mask.shape)
    near = np.zeros(mask.shape, bool)
    near[box] = ndimage.distance_transform_edt(~mask[box], sampling=spacing) <= GRAZED_MM
    return near
