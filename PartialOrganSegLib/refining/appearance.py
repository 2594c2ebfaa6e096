"""What looks like the drawn tissue: how often pairs of HU, sharp and blurred, occur under a stroke and around it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..imaging.shapes import Spacing3
from .coarse import Values

LOWEST_HU, HIGHEST_HU = -200.0, 300.0
BINS = 40  # an axis, of 12.5 HU
BLUR_BINS = 1.2  # a stroke is a small sample: its neighbours in HU are as likely
BLUR_MM = 3.0
NEVER = 1e-7  # beside densities, so that what occurs nowhere is undecided instead of 0 / 0

Density = npt.NDArray[np.float64]


class Appearance:
    """The joint histogram's bin of every voxel of a region: its HU, and its HU blurred by `BLUR_MM`.

    The blurred HU tells the middle of an organ from a border voxel of the same HU.
    """

    def __init__(self, hu: Values, spacing: Spacing3) -> None:
        """`hu`: (z, y, x), clipped to `LOWEST_HU` and `HIGHEST_HU`; `spacing` (z, y, x) mm."""
        blurred = ndimage.gaussian_filter(hu, [BLUR_MM / mm for mm in spacing])
        self._shape = hu.shape
        self._bins = (_bins(hu) * BINS + _bins(blurred)).ravel()

    def density(self, weights: Values) -> Density:
        """(BINS * BINS,) how often each bin occurs among the voxels, weighted by (z, y, x); it sums to 1."""
        counts = np.bincount(self._bins, weights.ravel(), minlength=BINS * BINS).reshape(BINS, BINS)
        smooth = ndimage.gaussian_filter(counts, BLUR_BINS, mode="nearest").ravel()
        return np.asarray(smooth / max(float(smooth.sum()), 1e-9))

    def likeness(self, drawn: Density, around: Density) -> Values:
        """(z, y, x) probability that a voxel belongs to what was drawn, both being equally likely at first."""
        ratio = drawn / (drawn + around + NEVER)
        return np.asarray(ratio[self._bins].reshape(self._shape), np.float32)


def _bins(hu: Values) -> npt.NDArray[np.intp]:
    share = (hu - LOWEST_HU) / (HIGHEST_HU - LOWEST_HU)
    return (share * BINS).astype(np.intp).clip(0, BINS - 1)
