"""The network over a volume in windows as nnU-Net v2 lays and weights them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from scipy import ndimage

from ...errors import Code, UserError
from ...events import Reporter

SIGMA = 1 / 8  # of the patch
HIGHEST_WEIGHT = 10.0  # keeps the weights of a window's corners above zero in half precision
SLICES = 16  # of a 2D network at once


def axis_starts(size: int, patch: int, step: float) -> list[int]:
    """First voxels of windows along an axis of `size` >= `patch` voxels: evenly spread, at most `step` of it apart."""
    count = math.ceil((size - patch) / (patch * step)) + 1
    return [round(n * (size - patch) / max(1, count - 1)) for n in range(count)]


def importance(patch: tuple[int, ...]) -> torch.Tensor:
    """float16 (*patch) Gaussian weights around the middle of a window, nowhere zero."""
    weights = np.full((1,) * len(patch), HIGHEST_WEIGHT)
    for axis, size in enumerate(patch):
        peak = np.zeros(size)
        peak[size // 2] = 1
        peak = ndimage.gaussian_filter1d(peak, size * SIGMA, mode="constant")
        along_axis = [1] * len(patch)
        along_axis[axis] = size
        weights = weights * (peak / peak.max()).reshape(along_axis)
    # The smallest weights of a large patch are 0 in half precision, and every voxel's sum is divided by its weights.
    half = torch.from_numpy(weights).half()
    return half.clamp_min(half[half > 0].min())


def window_scores(volume: torch.Tensor, patch: tuple[int, ...], step: float, classes: int,
                  forward: Callable[[torch.Tensor], torch.Tensor], reporter: Reporter) -> torch.Tensor:
    """float16 scores (*volume's shape, class): logits of overlapping windows, averaged with `importance`.

    `forward` maps (1, 1, *window) to logits (*window, class) on the CPU. A `patch` of two numbers goes slice by slice
    along the first axis. A volume smaller than the patch is padded evenly with zeros.
    """
    flat = len(patch) == 2
    window, weights = patch, importance(patch)
    if flat:
        window, weights = (min(SLICES, volume.shape[0]), *patch), weights[None]
    # As nnU-Net pads: evenly on both sides, with zeros of the normalised input.
    missing = [max(0, side - size) for side, size in zip(window, volume.shape, strict=True)]
    below = [pad // 2 for pad in missing]
    padding: list[int] = []
    for pad, first in zip(missing[::-1], below[::-1], strict=True):  # PyTorch counts from the last axis
        padding += [first, pad - first]
    volume = torch.nn.functional.pad(volume, padding)
    starts = [axis_starts(size, side, step) for size, side in zip(volume.shape, window, strict=True)]
    if flat:
        starts[0] = list(range(0, volume.shape[0], SLICES))
    scores = torch.zeros(*volume.shape, classes, dtype=torch.float16)
    total = torch.zeros(volume.shape, dtype=torch.float16)
    corners = list(product(*starts))
    for number, corner in enumerate(corners):
        reporter.progress("segment", number, len(corners))
        place = tuple(slice(start, start + side) for start, side in zip(corner, window, strict=True))
        scores[place] += forward(volume[place][None, None]).float() * weights[..., None]
        total[place] += weights
    reporter.progress("segment", len(corners), len(corners))
    for plane, weight in zip(scores, total, strict=True):
        plane /= weight[..., None]
        # Labels of what is no number would be background without a word.
        if not torch.isfinite(plane).all():
            raise UserError(code=Code.MODEL_UNFIT, found="the network's scores are no numbers or beyond half precision",
                            hint="expected a sound model")
    unpadded = tuple(slice(first, first + size - pad) for first, size, pad in
                     zip(below, volume.shape, missing, strict=True))
    return scores[unpadded]
