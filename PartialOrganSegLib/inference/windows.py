"""The network over a volume in overlapping windows, their scores merged with Gaussian weights.

Windows that lie between two others run only where one of those found an organ: a scan of chest or legs costs half.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..events import Reporter

OVERLAP = 0.5
# A plane up to this many times the training patch is seen whole; larger ones are split.
PLANE_LIMIT = 1.5
# Fewer foreground voxels than this (of every fourth, seen in both neighbours) are noise that needs no second look.
LEAST_VOXELS = 2
GAUSSIAN_SIGMA = 1 / 8
# Lets half precision hold the weighted scores of a voxel seen by one window's edge alone.
LEAST_WEIGHT = 1e-2


@dataclass(frozen=True)
class Layout:
    """`padded`: (z, y, x) shape the volume is padded to; `window`: the windows' shape; `starts` along each axis."""

    padded: tuple[int, int, int]
    window: tuple[int, int, int]
    starts: tuple[list[int], list[int], list[int]]


def plan(shape: tuple[int, int, int], patch: tuple[int, int, int], multiple: tuple[int, int, int]) -> Layout:
    """Windows for a volume of `shape`: the patch's depth, in plane the whole body where it is not too large."""
    padded, window, starts = [], [], []
    for axis, (size, side, unit) in enumerate(zip(shape, patch, multiple, strict=True)):
        limit = round_up(side if axis == 0 else round(side * PLANE_LIMIT), unit)
        whole = round_up(size, unit)
        window.append(min(whole, limit))
        padded.append(max(size, window[-1]))
        starts.append(axis_starts(padded[-1], window[-1]))
    return Layout(tuple(padded), tuple(window), tuple(starts))


def round_up(size: int, unit: int) -> int:
    """The smallest multiple of `unit` that is not below `size`."""
    return -(-size // unit) * unit


def axis_starts(size: int, window: int) -> list[int]:
    """Evenly spaced first voxels of windows that cover `size` voxels, each pair of neighbours sharing half or more."""
    if size <= window:
        return [0]
    count = -(-(size - window) // max(1, int(window * (1 - OVERLAP)))) + 1
    return [i * (size - window) // (count - 1) for i in range(count)]


def gaussian(size: int, window_count: int) -> torch.Tensor:
    """(size,) weights of a window along one axis: flat where there is but one window."""
    if window_count == 1:
        return torch.ones(size)
    offset = (torch.arange(size) - (size - 1) / 2) / (size * GAUSSIAN_SIGMA)
    return torch.exp(-offset**2 / 2).clamp_min(LEAST_WEIGHT)


def window_scores(volume: torch.Tensor, padding: float, layout: Layout, classes: int,
                  forward: Callable[[torch.Tensor], torch.Tensor], reporter: Reporter) -> torch.Tensor:
    """float16 scores (z, y, x, class) of a network input (z, y, x), averaged over windows.

    `forward` maps (1, 1, *window) to logits (z, y, x, class) of a window on the CPU. Classes lie last: a voxel's
    scores are read together ever after.
    """
    shape = volume.shape
    scores = torch.zeros(*shape, classes, dtype=torch.float16)
    z_weights = gaussian(layout.window[0], len(layout.starts[0]))
    y_weights = gaussian(layout.window[1], len(layout.starts[1]))
    x_weights = gaussian(layout.window[2], len(layout.starts[2]))
    whole_plane = len(layout.starts[1]) == len(layout.starts[2]) == 1
    z_total = torch.zeros(shape[0])
    foreground = torch.zeros(shape[0], dtype=torch.long)

    def run(z: int) -> None:
        depth = min(layout.window[0], shape[0] - z)
        for y in layout.starts[1]:
            for x in layout.starts[2]:
                height, width = min(layout.window[1], shape[1] - y), min(layout.window[2], shape[2] - x)
                part = volume[z:z + depth, y:y + height, x:x + width]
                if part.shape != layout.window:
                    whole = torch.full(layout.window, padding)
                    whole[:depth, :height, :width] = part
                    part = whole
                logits = forward(part[None, None])[:depth, :height, :width]
                sample = logits[:, ::2, ::2]
                foreground[z:z + depth] += (sample[..., 1:].amax(-1) > sample[..., 0]).sum((1, 2))
                # A slice at a time with the z weight as a number: thirty times as fast as a product of arrays.
                for k in range(depth):
                    plane = logits[k]
                    if not whole_plane:
                        plane = plane.float() * (y_weights[:height, None] * x_weights[:width])[..., None]
                    scores[z + k, y:y + height, x:x + width].add_(plane, alpha=float(z_weights[k]))
        z_total[z:z + depth] += z_weights[:depth]

    starts = layout.starts[0]
    first = sorted({*starts[::2], starts[-1]})
    between = [z for z in starts if z not in first]
    for done, z in enumerate(first):
        reporter.progress("segment", done, len(starts))
        run(z)
    seen = foreground.clone()
    for done, z in enumerate(between, len(first)):
        reporter.progress("segment", done, len(starts))
        # The whole of both neighbours counts: an organ may be faint just where they end.
        margin = layout.window[0] // 2
        if int(seen[max(0, z - margin):z + layout.window[0] + margin].sum()) >= LEAST_VOXELS:
            run(z)
    reporter.progress("segment", len(starts), len(starts))
    plane_total = _total(y_weights, layout.starts[1], shape[1])[:, None] * _total(x_weights, layout.starts[2], shape[2])
    for z in range(shape[0]):
        scores[z] *= 1 / float(z_total[z])
        if not whole_plane:
            scores[z] /= plane_total[..., None]
    return scores


def _total(weights: torch.Tensor, starts: list[int], size: int) -> torch.Tensor:
    total = torch.zeros(size)
    for start in starts:
        stop = min(start + len(weights), size)
        total[start:stop] += weights[:stop - start]
    return total
