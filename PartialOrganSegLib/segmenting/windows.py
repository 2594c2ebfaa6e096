"""The network over a volume in overlapping windows, their scores merged with Gaussian weights.

Where windows share half of their length, those between two others run only where one of these found an organ: a scan of
chest or legs costs half.
Where windows lie is in `window_layout`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise, product
from typing import TypeAlias

import torch

from ..events import Reporter
from ..imaging.shapes import Box3, Shape3
from .window_layout import Layout, gaussian

Forward: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""A window's network input to its logits."""

# Fewer foreground voxels than this (of every fourth, seen in both neighbours) are noise that needs no second look.
LEAST_VOXELS = 2


def window_scores(volume: torch.Tensor, padding: float, layout: Layout, classes: int, forward: Forward,
                  reporter: Reporter, workers: int = 1, waited: Callable[[float], None] = lambda seconds: None
                  ) -> torch.Tensor:
    """float16 scores (z, y, x, class) of a network input (z, y, x), averaged over windows.

    `forward` maps (1, 1, *window) to logits (z, y, x, class) of a window on the CPU; up to `workers` windows are
    computed at a time, each in a thread of its own, and added in the same order however many these are. `waited`
    receives the seconds that nothing but the network worked. Classes lie last: a voxel's scores are read together ever
    after.
    """
    z, y, x = volume.shape
    merged = MergedScores((z, y, x), classes, layout)
    starts = layout.starts[0]
    first = sorted({*starts[::2], starts[-1]})
    if layout.slices is not None or any(b - a > layout.window[0] for a, b in pairwise(first)):
        first = starts  # every other window would not see every slice

    def run(rows: Sequence[int], finished: int) -> None:
        """All windows that begin at the slices `rows`; `finished` rows are reported before."""
        corners = list(product(rows, layout.starts[1], layout.starts[2]))
        per_row = len(layout.starts[1]) * len(layout.starts[2])
        inputs = (_window(volume, merged.box(corner), layout.window, padding) for corner in corners)
        for number, logits in enumerate(_in_order(forward, inputs, workers, waited)):
            if number % per_row == 0:
                reporter.progress("segment", finished + number // per_row, len(starts))
            merged.add(corners[number], logits)

    reporter.progress("segment", 0, len(starts))
    run(first, 0)
    run([start for start in starts if start not in first and merged.saw_organs_near(start)], len(first))
    reporter.progress("segment", len(starts), len(starts))
    return merged.averaged()


def _window(volume: torch.Tensor, box: Box3, size: Shape3, padding: float) -> torch.Tensor:
    """(1, 1, *size): the box of the volume, filled up with `padding` where it ends earlier."""
    part = volume[box]
    if part.shape != size:
        padded = torch.full(size, padding)
        padded[tuple(slice(length) for length in part.shape)] = part
        part = padded
    return part[None, None]


class MergedScores:
    """Weighted sums of the windows' logits, and of their weights."""

    def __init__(self, shape: Shape3, classes: int, layout: Layout) -> None:
        self._shape, self._layout = shape, layout
        self._sums = torch.zeros(*shape, classes, dtype=torch.float16)
        self._y_weights = gaussian(layout.window[1], len(layout.starts[1]))
        self._x_weights = gaussian(layout.window[2], len(layout.starts[2]))
        self._is_whole_plane = len(layout.starts[1]) == len(layout.starts[2]) == 1
        self._z_total = torch.zeros(shape[0])
        self._organ_voxels = torch.zeros(shape[0], dtype=torch.long)

    def box(self, corner: Shape3) -> Box3:
        """The part of the volume that the window at `corner` sees."""
        z, y, x = (slice(start, min(start + length, size))
                   for start, length, size in zip(corner, self._layout.window, self._shape, strict=True))
        return z, y, x

    def add(self, corner: Shape3, logits: torch.Tensor) -> None:
        """Adds the logits (z, y, x, class) of the window at `corner`."""
        z, y, x = self.box(corner)
        depth, height, width = z.stop - z.start, y.stop - y.start, x.stop - x.start
        logits = logits[:depth, :height, :width]
        sample = logits[:, ::2, ::2]
        self._organ_voxels[z] += (sample[..., 1:].amax(-1) > sample[..., 0]).sum((1, 2))
        z_weights = self._layout.z_weights(corner[0])
        if (corner[1], corner[2]) == (0, 0):  # once for all windows side by side
            self._z_total[z] += z_weights[:depth]
        # A slice at a time with the z weight as a number: thirty times as fast as a product of arrays.
        for k in range(depth):
            plane = logits[k]
            if not self._is_whole_plane:
                plane = plane.float() * (self._y_weights[:height, None] * self._x_weights[:width])[..., None]
            self._sums[z.start + k, y, x].add_(plane, alpha=float(z_weights[k]))

    def saw_organs_near(self, start: int) -> bool:
        """Whether the windows on both sides of the one at slice `start` saw organs.

        The whole of both counts: an organ may be faint just where they end.
        """
        depth = self._layout.window[0]
        near = self._organ_voxels[max(0, start - depth // 2):start + depth + depth // 2]
        return int(near.sum()) >= LEAST_VOXELS

    def averaged(self) -> torch.Tensor:
        """float16 scores (z, y, x, class), once all windows are added; in place of the sums."""
        y_total = _total(self._y_weights, self._layout.starts[1], self._shape[1])
        x_total = _total(self._x_weights, self._layout.starts[2], self._shape[2])
        plane_total = y_total[:, None] * x_total
        for z in range(self._shape[0]):
            self._sums[z] *= 1 / float(self._z_total[z])
            if not self._is_whole_plane:
                self._sums[z] /= plane_total[..., None]
        return self._sums


def _in_order(function: Forward, arguments: Iterable[torch.Tensor], workers: int,
              waited: Callable[[float], None]) -> Iterator[torch.Tensor]:
    """The results of a function, one after the other, while up to `workers` threads compute those to come."""
    if workers == 1:
        for argument in arguments:
            start = time.perf_counter()
            result = function(argument)
            waited(time.perf_counter() - start)
            yield result
        return

    def alone(argument: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():  # is a thread's own
            torch.set_num_threads(1)
            return function(argument)

    ahead: deque[Future[torch.Tensor]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="window")
    try:
        for argument in arguments:
            ahead.append(pool.submit(alone, argument))
            if len(ahead) >= workers + 1:
                yield _result(ahead.popleft(), waited)
        while ahead:
            yield _result(ahead.popleft(), waited)
    finally:  # cancelled, or an error: what has not begun does not begin
        pool.shutdown(wait=True, cancel_futures=True)


def _result(future: Future[torch.Tensor], waited: Callable[[float], None]) -> torch.Tensor:
    start = time.perf_counter()
    result = future.result()
    waited(time.perf_counter() - start)
    return result


def _total(weights: torch.Tensor, starts: list[int], size: int) -> torch.Tensor:
    total = torch.zeros(size)
    for start in starts:
        stop = min(start + len(weights), size)
        total[start:stop] += weights[:stop - start]
    return total
