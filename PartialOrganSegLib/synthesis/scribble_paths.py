"""Paths of a pen inside a two-dimensional region: along its middle, or along its border at some depth.

Both are cheapest paths on the grid of the region's pixels (Dijkstra), where the price of a pixel says where the pen
likes to be. Regions are (y, x) bool, pixel sizes and lengths in mm, paths (n, 2) mm, (y, x), in order.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

Mask: TypeAlias = npt.NDArray[np.bool_]
Path: TypeAlias = npt.NDArray[np.float64]

_NODES = 2500  # a larger region is walked on every second, third, ... pixel
_WOBBLE_MM = 1.5  # a hand is no ruler
_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))


def depth_of(region: Mask, spacing: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Distance (mm) of each pixel of the region to the nearest one outside it; the image's edge does not count."""
    if region.all():
        return np.full(region.shape, float(np.dot(region.shape, spacing)))
    depth: npt.NDArray[np.float64] = ndimage.distance_transform_edt(region, sampling=spacing)
    return depth


def medial_path(region: Mask, spacing: tuple[float, float], generator: np.random.Generator) -> Path:
    """A part of the region's longest way along its middle, like a skeleton's main branch. `region` is not empty."""
    # The image's edge is a border of the region here: a stroke has no reason to run along it.
    depth = depth_of(np.pad(region, 1), spacing)[1:-1, 1:-1]
    walk = _Walk(region, (depth.max() / np.maximum(depth, 1e-3)) ** 2, spacing, _stride(region))
    middle = int(walk.read(depth).argmax())
    path = walk.to_farthest(walk.farthest(middle))
    # Nobody draws from tip to tip.
    length = max(1, round(len(path) * generator.uniform(0.55, 0.9)))
    first = generator.integers(0, len(path) - length + 1)
    return _by_hand(path[first:first + length], float(depth.max()), generator)


def border_path(region: Mask, depth: np.ndarray, at_mm: float, length_mm: float, near: np.ndarray,
                spacing: tuple[float, float], generator: np.random.Generator) -> Path | None:
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
    # One of the nearest quarter, so that strokes beside the same organ start at different places.
    closest = band[np.argsort(walk.read(near)[band], kind="stable")]
    start = int(closest[generator.integers(0, max(1, len(closest) // 4))])
    return _by_hand(walk.of_length(start, length_mm, band), at_mm, generator)


def painted(path: Path, width_mm: float, region: Mask, spacing: tuple[float, float]) -> npt.NDArray[np.intp]:
    """(n, 2) pixels of the region that a pen of `width_mm` covers, in the order in which it passes them.

    A pen is no thinner than a pixel, so that a line has no gaps, and one that misses the region marks the nearest pixel
    of it. `region` is not empty.
    """
    # Eight points between two of the path: pixels are then held against a line, not against its corners.
    along = np.linspace(0, len(path) - 1, 8 * (len(path) - 1) + 1)
    line = np.stack([np.interp(along, np.arange(len(path)), path[:, axis]) for axis in range(2)], 1)
    pixels = np.argwhere(region)
    places = pixels * spacing
    close = ((places >= line.min(0) - width_mm) & (places <= line.max(0) + width_mm)).all(1)
    if not close.any():
        close[:] = True
    distance, passed = cKDTree(line).query(places[close])
    covered = distance <= max(width_mm / 2, 0.6 * max(spacing), float(distance.min()))
    ordered: npt.NDArray[np.intp] = pixels[close][covered][np.argsort(passed[covered], kind="stable")]
    return ordered


def _stride(region: Mask) -> int:
    """How many pixels apart the nodes of a walk lie, so that there are about _NODES of them."""
    stride = max(1, int(np.ceil(np.sqrt(region.sum() / _NODES))))
    if region[::stride, ::stride].any():
        return stride
    return 1  # a region so thin that the coarser nodes miss it


class _Walk:
    """Every `stride`-th pixel of a region as a graph; an edge costs its length times the mean `price` of its ends."""

    def __init__(self, region: Mask, price: np.ndarray, spacing: tuple[float, float], stride: int) -> None:
        self.stride, self.step = stride, (spacing[0] * stride, spacing[1] * stride)
        region = region[::stride, ::stride]
        self.pixels = np.argwhere(region)
        self.prices = self.read(price)
        # The nodes' numbers on the grid, -1 elsewhere; a margin of one spares the neighbours a check for the edge.
        number = np.full((region.shape[0] + 2, region.shape[1] + 2), -1)
        number[1:-1, 1:-1][region] = np.arange(len(self.pixels))
        starts, ends, costs = [], [], []
        for dy, dx in _STEPS:  # half of the eight neighbours: the graph is used in both directions
            neighbour = number[self.pixels[:, 0] + 1 + dy, self.pixels[:, 1] + 1 + dx]
            start = np.flatnonzero(neighbour >= 0)
            end = neighbour[start]
            length = np.hypot(dy * self.step[0], dx * self.step[1])
            starts.append(start)
            ends.append(end)
            costs.append(length * (self.prices[start] + self.prices[end]) / 2)
        edges = (np.concatenate(starts), np.concatenate(ends))
        self.graph = csr_array((np.concatenate(costs), edges), shape=(len(self.pixels),) * 2)

    def read(self, image: np.ndarray) -> np.ndarray:
        """An image's values at the nodes."""
        values: np.ndarray = image[::self.stride, ::self.stride][tuple(self.pixels.T)]
        return values

    def farthest(self, start: int) -> int:
        """The node that costs most to reach."""
        cost = dijkstra(self.graph, directed=False, indices=start)
        return int(np.where(np.isfinite(cost), cost, -1).argmax())

    def to_farthest(self, start: int) -> Path:
        """The cheapest path (mm) from `start` to the node that costs most to reach."""
        costs, before = dijkstra(self.graph, directed=False, indices=start, return_predecessors=True)
        return self._path(start, int(np.where(np.isfinite(costs), costs, -1).argmax()), before)

    def of_length(self, start: int, cost: float, ends: np.ndarray) -> Path:
        """The cheapest path (mm) from `start` to that of the nodes `ends` which `cost` comes nearest to."""
        costs, before = dijkstra(self.graph, directed=False, indices=start, return_predecessors=True)
        return self._path(start, int(ends[np.abs(costs[ends] - cost).argmin()]), before)

    def _path(self, start: int, end: int, before: np.ndarray) -> Path:
        nodes = [end]
        while nodes[-1] != start:
            nodes.append(int(before[nodes[-1]]))
        path: Path = self.pixels[nodes[::-1]] * np.array(self.step)
        return path


def _by_hand(path: Path, room_mm: float, generator: np.random.Generator) -> Path:
    """The path without the grid's corners, swaying within a part of the room beside it."""
    if len(path) < 3:
        return path
    sway = ndimage.gaussian_filter1d(generator.normal(size=path.shape), len(path) / 6, axis=0, mode="nearest")
    sway *= min(_WOBBLE_MM, 0.25 * room_mm) / np.maximum(np.abs(sway).max(), 1e-6)
    smooth: Path = ndimage.gaussian_filter1d(path.astype(float), 1.5, axis=0, mode="nearest")
    smooth += sway
    return smooth
