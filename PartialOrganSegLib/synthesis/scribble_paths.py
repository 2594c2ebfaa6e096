"""Paths of a pen inside a two-dimensional region: along its middle, or along its border at some depth.

Both are cheapest paths on the grid of the region's pixels (Dijkstra), where the price of a pixel says where the pen
likes to be. Regions are (y, x) bool, pixel sizes and lengths in mm, paths (n, 2) mm, (y, x), in order.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

_NODES = 2500  # a larger region is walked on every second, third, ... pixel
_WOBBLE_MM = 1.5  # a hand is no ruler
_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))


def depth_of(region: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Distance (mm) of each pixel of the region to the nearest one outside it; the image's edge does not count."""
    if region.all():
        return np.full(region.shape, float(np.dot(region.shape, spacing)))
    return ndimage.distance_transform_edt(region, sampling=spacing)


def medial_path(region: np.ndarray, spacing: tuple[float, float], generator: np.random.Generator) -> np.ndarray:
    """A part of the region's longest way along its middle, like a skeleton's main branch. `region` is not empty."""
    depth = depth_of(np.pad(region, 1), spacing)[1:-1, 1:-1]
    walk = _Walk(region, (depth.max() / np.maximum(depth, 1e-3)) ** 2, spacing, _stride(region))
    middle = int(walk.read(depth).argmax())
    path = walk.between(walk.farthest(middle), None)
    # Nobody draws from tip to tip.
    length = max(1, round(len(path) * generator.uniform(0.55, 0.9)))
    first = generator.integers(0, len(path) - length + 1)
    return _by_hand(path[first:first + length], float(depth.max()), generator)


def border_path(region: np.ndarray, depth: np.ndarray, at_mm: float, length_mm: float, near: np.ndarray,
                spacing: tuple[float, float], generator: np.random.Generator) -> np.ndarray | None:
    """A path of about `length_mm` that keeps `at_mm` deep in the region; `depth` as from `depth_of`.

    It starts where `near` (y, x), any distance, is least among the pixels of that depth, give or take. None where no
    pixel is that deep.
    """
    stride = _stride(region)
    width = stride * max(spacing)
    walk = _Walk(region, 1 + np.square((depth - at_mm) / width), spacing, stride)
    band = np.flatnonzero(np.abs(walk.read(depth) - at_mm) <= width)
    if not len(band):
        return None
    closest = band[np.argsort(walk.read(near)[band], kind="stable")]
    start = int(closest[generator.integers(0, max(1, len(closest) // 4))])
    return _by_hand(walk.between(start, length_mm, band), at_mm, generator)


def painted(path: np.ndarray, width_mm: float, region: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """(n, 2) pixels of the region that a pen of `width_mm` covers, in the order in which it passes them.

    A pen is no thinner than a pixel, so that a line has no gaps, and one that misses the region marks the nearest pixel
    of it. `region` is not empty.
    """
    along = np.linspace(0, len(path) - 1, 8 * (len(path) - 1) + 1)
    line = np.stack([np.interp(along, np.arange(len(path)), path[:, axis]) for axis in range(2)], 1)
    pixels = np.argwhere(region)
    places = pixels * spacing
    close = ((places >= line.min(0) - width_mm) & (places <= line.max(0) + width_mm)).all(1)
    if not close.any():
        close[:] = True
    distance, passed = cKDTree(line).query(places[close])
    covered = distance <= max(width_mm / 2, 0.6 * max(spacing), float(distance.min()))
    return pixels[close][covered][np.argsort(passed[covered], kind="stable")]


def _stride(region: np.ndarray) -> int:
    """Every how manieth pixel is walked on."""
    stride = max(1, int(np.ceil(np.sqrt(region.sum() / _NODES))))
    return stride if region[::stride, ::stride].any() else 1


class _Walk:
    """Every `stride`-th pixel of a region as a graph; an edge costs its length times the mean `price` of its ends."""

    def __init__(self, region: np.ndarray, price: np.ndarray, spacing: tuple[float, float], stride: int) -> None:
        self.stride, self.step = stride, (spacing[0] * stride, spacing[1] * stride)
        region = region[::stride, ::stride]
        self.pixels = np.argwhere(region)
        self.prices = self.read(price)
        number = np.full(np.add(region.shape, 2), -1)
        number[1:-1, 1:-1][region] = np.arange(len(self.pixels))
        ends = []
        for dy, dx in _STEPS:
            other = number[self.pixels[:, 0] + 1 + dy, self.pixels[:, 1] + 1 + dx]
            here = np.flatnonzero(other >= 0)
            length = np.hypot(dy * self.step[0], dx * self.step[1])
            ends.append((here, other[here], length * (self.prices[here] + self.prices[other[here]]) / 2))
        here, other, cost = (np.concatenate(part) for part in zip(*ends, strict=True))
        self.graph = csr_array((cost, (here, other)), shape=(len(self.pixels),) * 2)

    def read(self, image: np.ndarray) -> np.ndarray:
        """An image's values at the nodes."""
        return image[::self.stride, ::self.stride][tuple(self.pixels.T)]

    def farthest(self, start: int) -> int:
        """The node that costs most to reach."""
        cost = dijkstra(self.graph, directed=False, indices=start)
        return int(np.where(np.isfinite(cost), cost, -1).argmax())

    def between(self, start: int, cost: float | None, ends: np.ndarray | None = None) -> np.ndarray:
        """The cheapest path (mm) from `start` to that of the nodes `ends` whose cost is nearest, or to the farthest."""
        costs, before = dijkstra(self.graph, directed=False, indices=start, return_predecessors=True)
        if cost is None:
            node = int(np.where(np.isfinite(costs), costs, -1).argmax())
        else:
            assert ends is not None
            node = int(ends[np.abs(costs[ends] - cost).argmin()])
        nodes = [node]
        while nodes[-1] != start:
            nodes.append(int(before[nodes[-1]]))
        return self.pixels[nodes[::-1]] * self.step


def _by_hand(path: np.ndarray, room_mm: float, generator: np.random.Generator) -> np.ndarray:
    """The path without the grid's corners, swaying within a part of the room beside it."""
    if len(path) < 3:
        return path
    sway = ndimage.gaussian_filter1d(generator.normal(size=path.shape), len(path) / 6, axis=0, mode="nearest")
    sway *= min(_WOBBLE_MM, 0.25 * room_mm) / np.maximum(np.abs(sway).max(), 1e-6)
    return ndimage.gaussian_filter1d(path.astype(float), 1.5, axis=0, mode="nearest") + sway
