"""Strokes in planes that need not be slices of the image: coronal, sagittal, oblique ones."""

from __future__ import annotations

import math

import numpy as np

from ..imaging.shapes import Coordinates, Mask, VoxelIndices
from ..imaging.volume import Grid

_ROUNDING_MM = 1e-6


def half_thickness(normal: Coordinates, grid: Grid) -> float:
    """Half of a voxel's length (mm) along a unit normal: a plane goes through the voxels whose centre is this near."""
    sides = np.asarray(grid.direction).reshape(3, 3) * np.asarray(grid.spacing)
    return float(np.abs(normal @ sides).sum()) / 2


def plane_voxels(points: Coordinates, normal: Coordinates, width_mm: float, closed: bool, grid: Grid) -> VoxelIndices:
    """Voxels that a plane goes through and whose centre a stroke in it covers.

    `points` (n, 3) and the unit `normal` (3,) in LPS mm; the plane goes through the points' mean. A closed stroke of
    three points or more covers the inside of its outline, another a band of `width_mm`.
    """
    thickness = half_thickness(normal, grid)
    middle = points.mean(axis=0)
    indices = _around(points, width_mm / 2 + thickness, grid)
    centres = _centres(indices, grid)
    # Half open: where the plane runs exactly between two slices it goes through one of them.
    away = (centres - middle) @ normal
    near = (away >= -thickness) & (away < thickness * (1 - 1e-6))
    axes = _axes_in(normal)
    outline, places = (points - middle) @ axes, (centres[near] - middle) @ axes
    is_outline = closed and len(points) >= 3
    covered = _inside(places, outline) if is_outline else _on_line(places, outline, width_mm / 2)
    z, y, x = (index[near][covered] for index in indices)
    return z, y, x


def distance_to_segment(places: Coordinates, start: Coordinates, end: Coordinates) -> Coordinates:
    """(...) mm from places (..., 2) to the nearest point of a line from `start` to `end` (2,), or of one point."""
    along = end - start
    squared_length = float(along @ along)
    share = np.zeros(places.shape[:-1])  # of the way from start to end, where a place is nearest to the line
    if squared_length:
        share = np.clip(((places - start) @ along) / squared_length, 0, 1)
    return np.asarray(np.linalg.norm(places - start - share[..., None] * along, axis=-1))


def _on_line(places: Coordinates, line: Coordinates, radius: float) -> Mask:
    """(n,) whether places (n, 2) are at most `radius` from a polyline of vertices (m, 2)."""
    covered = np.zeros(len(places), bool)
    # The last vertex is followed by itself, which makes a line of one vertex a dot.
    for start, end in zip(line, np.r_[line[1:], line[-1:]], strict=True):
        # Only places near to the line are looked at, so that many vertices do not take minutes.
        low, high = np.minimum(start, end) - radius - _ROUNDING_MM, np.maximum(start, end) + radius + _ROUNDING_MM
        near = ((places >= low) & (places <= high)).all(axis=1).nonzero()[0]
        covered[near] |= distance_to_segment(places[near], start, end) <= radius
    return covered


def _inside(places: Coordinates, outline: Coordinates) -> Mask:
    """(n,) whether places (n, 2) lie inside a polygon: a ray from them crosses it an odd number of times."""
    odd = np.zeros(len(places), bool)
    for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        crosses = (start[1] > places[:, 1]) != (end[1] > places[:, 1])
        if crosses.any():
            slope = (end[0] - start[0]) / (end[1] - start[1])
            odd ^= crosses & (places[:, 0] < start[0] + slope * (places[:, 1] - start[1]))
    return odd


def _axes_in(normal: Coordinates) -> Coordinates:
    """(3, 2): two unit vectors at right angles in the plane."""
    helper = np.eye(3)[int(np.abs(normal).argmin())]
    first = np.cross(normal, helper)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(normal, first)], axis=1)


def _around(points: Coordinates, margin_mm: float, grid: Grid) -> VoxelIndices:
    """All voxels of the box, on the grid's axes, that holds the points with a margin."""
    places = np.c_[points, np.ones(len(points))] @ np.linalg.inv(grid.matrix).T
    ranges = []
    for axis, (mm, size) in enumerate(zip(grid.spacing, grid.size, strict=True)):
        low = math.floor(places[:, axis].min() - margin_mm / mm)
        high = math.ceil(places[:, axis].max() + margin_mm / mm) + 1
        ranges.append(np.arange(max(0, low), min(size, high)))
    z, y, x = np.meshgrid(*ranges[::-1], indexing="ij")
    return z.ravel(), y.ravel(), x.ravel()


def _centres(indices: VoxelIndices, grid: Grid) -> Coordinates:
    """(n, 3) LPS mm."""
    z, y, x = indices
    return np.stack([x, y, z], axis=1) @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
