"""The network over a volume in overlapping windows, their scores merged with Gaussian weights.

Where windows share half of their length, those between two others run only where one of these found an organ: a scan of
chest or legs costs half.
A 2D network gains nothing from windows that overlap in depth, and gets none.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import torch

from ..events import Reporter

# A plane up to this many times the training patch is seen whole; larger ones are split.
PLANE_LIMIT = 1.5
# A network that sees a few slices at once takes any depth: deep windows cost less at their ends.
SLICE_WINDOW = 24
# Fewer foreground voxels than this (of every fourth, seen in both neighbours) are noise that needs no second look.
LEAST_VOXELS = 2
GAUSSIAN_SIGMA = 1 / 8
# Lets half precision hold the weighted scores of a voxel seen by one window's edge alone.
LEAST_WEIGHT = 1e-2


@dataclass(frozen=True)
class Layout:
    """`padded`: (z, y, x) shape the volume is padded to; `window`: the windows' shape; `starts` along each axis.

    `slices`: how many a 2D (1) or 2.5D network sees at once, None for one of volumes.
    """

    padded: tuple[int, int, int]
    window: tuple[int, int, int]
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


def plan(shape: tuple[int, int, int], patch: tuple[int, int, int], multiple: tuple[int, int, int],
         slices: int | None = None, overlap: float = 0.5, fitted: float | None = None) -> Layout:
    """Windows for a volume of `shape`, which share `overlap` of their length.

    They have the patch's depth; in plane they are the patch too, or the whole body where it is at most `PLANE_LIMIT`
    times as large. With `fitted` each axis is covered evenly by the fewest windows of at most `fitted` times the patch.
    Windows of a network of `slices` are `SLICE_WINDOW` deep or more, and share only as many slices as it takes for each
    to have its neighbours.
    """
    padded, window, starts = [], [], []
    if slices is not None:
        patch = (max(patch[0], SLICE_WINDOW, 2 * slices), *patch[1:])
    for axis, (size, side, unit) in enumerate(zip(shape, patch, multiple, strict=True)):
        if fitted is not None and slices is None:
            length, shared = fitted_length(size, round(side * fitted), unit, overlap)
        else:
            limit = round_up(side if axis == 0 else round(side * PLANE_LIMIT), unit)
            length = min(round_up(size, unit), limit)
            shared = slices - 1 if slices and axis == 0 else length - int(length * (1 - overlap))
        window.append(length)
        padded.append(max(size, length))
        starts.append(axis_starts(padded[-1], length, shared))
    return Layout(tuple(padded), tuple(window), tuple(starts), slices)


def fitted_length(size: int, most: int, unit: int, overlap: float) -> tuple[int, int]:
    """Length and shared voxels of the fewest equal windows, multiples of `unit` up to `most`, that cover `size`."""
    most = max(unit, most // unit * unit)
    count = 1
    while True:
        # n windows of length w that share a part o of it cover w * (n - (n - 1) * o).
        length = round_up(math.ceil(size / (count - (count - 1) * overlap)), unit)
        if length <= most:
            return length, int(length * overlap)
        count += 1


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


def window_scores(volume: torch.Tensor, padding: float, layout: Layout, classes: int,
                  forward: Callable[[torch.Tensor], torch.Tensor], reporter: Reporter, workers: int = 1,
                  waited: Callable[[float], None] = lambda seconds: None) -> torch.Tensor:
    """float16 scores (z, y, x, class) of a network input (z, y, x), averaged over windows.

    `forward` maps (1, 1, *window) to logits (z, y, x, class) of a window on the CPU; up to `workers` windows are
    computed at a time, each in a thread of its own, and added in the same order however many these are. `waited`
    receives the seconds that nothing but the network worked. Classes lie last: a voxel's scores are read together ever
    after.
    """
    shape = volume.shape
    scores = torch.zeros(*shape, classes, dtype=torch.float16)
    y_weights = gaussian(layout.window[1], len(layout.starts[1]))
    x_weights = gaussian(layout.window[2], len(layout.starts[2]))
    whole_plane = len(layout.starts[1]) == len(layout.starts[2]) == 1
    z_total = torch.zeros(shape[0])
    foreground = torch.zeros(shape[0], dtype=torch.long)

    def box(corner: tuple[int, int, int]) -> tuple[slice, slice, slice]:
        z, y, x = (slice(start, min(start + length, size))
                   for start, length, size in zip(corner, layout.window, shape, strict=True))
        return z, y, x

    def window(corner: tuple[int, int, int]) -> torch.Tensor:
        part = volume[box(corner)]
        if part.shape != layout.window:
            whole = torch.full(layout.window, padding)
            whole[tuple(slice(n) for n in part.shape)] = part
            part = whole
        return part[None, None]

    def add(corner: tuple[int, int, int], logits: torch.Tensor) -> None:
        z, y, x = box(corner)
        depth, height, width = z.stop - z.start, y.stop - y.start, x.stop - x.start
        logits = logits[:depth, :height, :width]
        sample = logits[:, ::2, ::2]
        foreground[z] += (sample[..., 1:].amax(-1) > sample[..., 0]).sum((1, 2))
        z_weights = layout.z_weights(corner[0])
        # A slice at a time with the z weight as a number: thirty times as fast as a product of arrays.
        for k in range(depth):
            plane = logits[k]
            if not whole_plane:
                plane = plane.float() * (y_weights[:height, None] * x_weights[:width])[..., None]
            scores[z.start + k, y, x].add_(plane, alpha=float(z_weights[k]))

    def run(rows: Sequence[int], done: int) -> None:
        """All windows that begin at the slices `rows`; `done` of these rows are finished before."""
        corners = [(z, y, x) for z in rows for y in layout.starts[1] for x in layout.starts[2]]
        plane = len(corners) // max(1, len(rows))
        for number, logits in enumerate(_in_order(forward, map(window, corners), workers, waited)):
            if number % plane == 0:
                reporter.progress("segment", done + number // plane, len(starts))
            add(corners[number], logits)
        for z in rows:
            depth = min(layout.window[0], shape[0] - z)
            z_total[z:z + depth] += layout.z_weights(z)[:depth]

    starts = layout.starts[0]
    first = sorted({*starts[::2], starts[-1]})
    if layout.slices is not None or any(b - a > layout.window[0] for a, b in pairwise(first)):
        first = starts  # every other window would not see every slice
    between = [z for z in starts if z not in first]
    reporter.progress("segment", 0, len(starts))
    run(first, 0)
    # The whole of both neighbours counts: an organ may be faint just where they end.
    margin = layout.window[0] // 2
    run([z for z in between
         if int(foreground[max(0, z - margin):z + layout.window[0] + margin].sum()) >= LEAST_VOXELS], len(first))
    reporter.progress("segment", len(starts), len(starts))
    plane_total = _total(y_weights, layout.starts[1], shape[1])[:, None] * _total(x_weights, layout.starts[2], shape[2])
    for z in range(shape[0]):
        scores[z] *= 1 / float(z_total[z])
        if not whole_plane:
            scores[z] /= plane_total[..., None]
    return scores


def _in_order(function: Callable[[torch.Tensor], torch.Tensor], arguments: Iterable[torch.Tensor], workers: int,
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
