"""Where a network's windows lie in a volume: their size, how many there are, and what each of their voxels weighs.

A 2D network gains nothing from windows that overlap in depth, and gets none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch

from ..imaging.shapes import Shape3

# A plane up to this many times the training patch is seen whole; larger ones are split.
PLANE_LIMIT = 1.5
# So many times the patch's length a window may be along one axis, where windows are fitted to the volume.
LONGEST = 1.5
# A network that sees a few slices at once takes any depth: deep windows cost less at their ends.
SLICE_WINDOW = 24
GAUSSIAN_SIGMA = 1 / 8
# Lets half precision hold the weighted scores of a voxel seen by one window's edge alone.
LEAST_WEIGHT = 1e-2


@dataclass(frozen=True)
class Layout:
    """`padded`: (z, y, x) shape the volume is padded to; `window`: the windows' shape; `starts` along each axis.

    `slices`: how many a 2D (1) or 2.5D network sees at once, None for one of volumes.
    """

    padded: Shape3
    window: Shape3
    starts: tuple[list[int], list[int], list[int]]
    slices: int | None = None

    def z_weights(self, start: int) -> torch.Tensor:
        """(window depth,) weights of the slices of the window at `start`.

        Those of a 2.5D network count only where it saw their real neighbours, which the next window has.
        """
        depth = self.window[0]
        if self.slices is None:
            return gaussian(depth, len(self.starts[0]))
        weights = torch.ones(depth)
        margin = self.slices // 2
        if start > 0:
            weights[:margin] = 0
        if start + depth < self.padded[0]:
            weights[depth - margin:] = 0
        return weights


def plan(shape: Shape3, patch: Shape3, multiple: Shape3,
         slices: int | None = None, overlap: float = 0.5, fitted: float | None = None) -> Layout:
    """Windows for a volume of `shape`, which share `overlap` of their length.

    They have the patch's depth; in plane they are the patch too, or the whole body where it is at most `PLANE_LIMIT`
    times as large. With `fitted` they are of `fitted_lengths`. Windows of a network of `slices` are `SLICE_WINDOW` deep
    or more, and share only as many slices as it takes for each to have its neighbours.
    """
    if slices is not None:
        patch = (max(patch[0], SLICE_WINDOW, 2 * slices), *patch[1:])
    lengths: Sequence[int] | None = None
    if fitted is not None and slices is None:
        lengths = fitted_lengths(shape, patch, multiple, overlap, fitted)
    axes = []
    for axis, (size, side, unit) in enumerate(zip(shape, patch, multiple, strict=True)):
        if lengths is not None:
            length = lengths[axis]
            shared = int(length * overlap)
        else:
            limit = side if axis == 0 else round(side * PLANE_LIMIT)
            length = min(round_up(size, unit), round_up(limit, unit))
            shared = length - int(length * (1 - overlap))
            if slices is not None and axis == 0:
                shared = slices - 1
        padded = max(size, length)
        axes.append((padded, length, axis_starts(padded, length, shared)))
    z, y, x = axes
    return Layout((z[0], y[0], x[0]), (z[1], y[1], x[1]), (z[2], y[2], x[2]), slices)


def fitted_lengths(shape: Shape3, patch: Shape3, multiple: Shape3, overlap: float, fitted: float) -> Shape3:
    """Lengths (z, y, x) of the windows that cover a volume of `shape` with the fewest voxels seen altogether.

    Along each axis there are equal windows that share `overlap` of their length, which is a multiple of `multiple`. A
    window holds at most `fitted` times the patch's voxels, and along no axis it is more than `fitted` squared times as
    long, nor more than `LONGEST` times: where a body is less deep than the patch, windows may be wider.
    """
    stretch = min(fitted ** 2, LONGEST)
    choices = [_lengths_for(size, side, round(side * stretch), unit, overlap)
               for size, side, unit in zip(shape, patch, multiple, strict=True)]
    # The shortest along each axis are no larger than the patch.
    best: Shape3 = (choices[0][-1][0], choices[1][-1][0], choices[2][-1][0])
    fewest = math.inf
    for z, y, x in product(*choices):
        window = (z[0], y[0], x[0])
        seen = math.prod(window) * z[1] * y[1] * x[1]
        if math.prod(window) <= math.prod(patch) * fitted and seen < fewest:
            best, fewest = window, seen
    return best


def _lengths_for(size: int, side: int, limit: int, unit: int, overlap: float) -> list[tuple[int, int]]:
    """(length, count) of equal windows that cover `size`, longest first: from those of at most `limit` to the first
    that is no longer than the patch's `side`."""
    choices: list[tuple[int, int]] = []
    count = 1
    while not choices or choices[-1][0] > max(side, unit):
        # n windows of length w that share a part o of it cover w * (n - (n - 1) * o).
        length = round_up(math.ceil(size / (count - (count - 1) * overlap)), unit)
        if length <= max(limit, unit):
            choices.append((length, count))
        count += 1
    return choices


def round_up(size: int, unit: int) -> int:
    """The smallest multiple of `unit` that is not below `size`."""
    return -(-size // unit) * unit


def axis_starts(size: int, window: int, shared: int) -> list[int]:
    """Evenly spaced first voxels of windows that cover `size` voxels, neighbours sharing `shared` or more."""
    if size <= window:
        return [0]
    count = -(-(size - window) // max(1, window - shared)) + 1
    return [i * (size - window) // (count - 1) for i in range(count)]


def gaussian(size: int, window_count: int) -> torch.Tensor:
    """(size,) weights of a window along one axis: flat where there is but one window."""
    if window_count == 1:
        return torch.ones(size)
    offset = (torch.arange(size) - (size - 1) / 2) / (size * GAUSSIAN_SIGMA)
    return torch.exp(-offset**2 / 2).clamp_min(LEAST_WEIGHT)
