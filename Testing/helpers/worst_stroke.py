"""Where a user would draw first: through the largest patch that a segmentation has wrong, on its worst slice."""

from __future__ import annotations

import numpy as np


def worst_slice(predicted: np.ndarray, truth: np.ndarray) -> tuple[int, np.ndarray, bool]:
    """Of two masks (z, y, x): the slice where most is missing or too much, these voxels (y, x), and whether they are
    missing."""
    missing, extra = truth & ~predicted, predicted & ~truth
    if missing.sum((1, 2)).max() >= extra.sum((1, 2)).max():
        k = int(missing.sum((1, 2)).argmax())
        return k, missing[k], True
    k = int(extra.sum((1, 2)).argmax())
    return k, extra[k], False


def line_through(k: int, wrong: np.ndarray, thick: int) -> tuple[slice, slice, slice]:
    """A line on slice `k`, `thick` voxels wide and as long as the largest wrong patch, through its middle row."""
    rows = wrong.sum(1)
    j = int(rows.argmax())
    places = np.flatnonzero(wrong[j])
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    run = max(runs, key=len)
    return np.s_[k, max(0, j - thick // 2):j + (thick + 1) // 2, int(run[0]):int(run[-1]) + 1]
