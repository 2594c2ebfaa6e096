"""Puts slices that lie unevenly, with gaps or along a tilted line onto one rectangular grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..imaging.shapes import Coordinates, VoxelArray
from ..imaging.volume import Grid, Volume
from .checks import AIR_HU, padding_to_air

_UNEVEN, _UNEVEN_MM = 0.05, 0.1  # of the slice distance, or mm: less is the rounding of positions in headers
_SHIFTED_PIXELS = 0.5  # a slice this far from the stack's axis is shown at the wrong place
_ON_A_SLICE = 1e-3  # of the way from one slice to the next: nearer, the slice itself is taken


def place_slices(path: Path, voxels: VoxelArray, positions: Sequence[Coordinates], unit_grid: Grid,
                 reporter: Reporter) -> Volume:
    """A volume of slices (z, y, x), whose first voxels lie at `positions` (LPS mm) along the grid's third axis.

    `unit_grid` gives size, in-plane spacing, direction and the first slice's origin. Missing slices and uneven
    distances are filled by linear interpolation on a regular grid; a stack sheared by gantry tilt is shifted upright,
    and the grid grows by what that needs. Both are reported. Raises UserError when gaps would more than double the
    volume.
    """
    cosines = np.asarray(unit_grid.direction).reshape(3, 3)
    local = (np.asarray(positions) - positions[0]) @ cosines  # mm along rows, columns and the normal
    heights = local[:, 2]
    step, regular = _slice_distance(heights)
    if regular:
        step = float(heights[-1]) / (len(heights) - 1)
    x_mm, y_mm, _ = unit_grid.spacing
    grid = dataclasses.replace(unit_grid, spacing=(x_mm, y_mm, step))
    shifts = local[:, :2] / (x_mm, y_mm)
    if np.abs(shifts).max() > _SHIFTED_PIXELS:
        voxels, grid = _upright(path, voxels, shifts, local, grid, reporter)
    if regular:
        return Volume(voxels, grid)
    return _evenly_spaced(path, voxels, heights, step, grid, reporter)


def _slice_distance(heights: Coordinates) -> tuple[float, bool]:
    """The slice distance that most slices keep (else about the smallest), and whether all of them keep it."""
    distances = np.diff(heights)
    values, counts = np.unique(np.round(distances, 2), return_counts=True)
    usual = float(values[np.argmax(counts)])
    alike = np.abs(distances - usual) <= max(_UNEVEN * usual, _UNEVEN_MM)
    if alike.mean() >= 0.5:
        step = float(distances[alike].mean())
    else:
        # Not finer than half of the middle distance: two slices close together must not blow the volume up.
        step = max(float(distances.min()), float(np.median(distances)) / 2)
    even = heights[-1] / (len(heights) - 1) * np.arange(len(heights))
    return step, bool(np.abs(heights - even).max() <= max(_UNEVEN * step, _UNEVEN_MM))


def _upright(path: Path, voxels: VoxelArray, shifts: Coordinates, local: Coordinates, grid: Grid,
             reporter: Reporter) -> tuple[VoxelArray, Grid]:
    """Moves each slice within its plane to where it lies in the patient; the stack was sheared."""
    angle = np.degrees(np.arctan2(np.linalg.norm(local[-1, :2]), local[-1, 2]))
    shift_mm = np.abs(local[:, :2]).max()
    reporter.warning(Problem(Code.GRID_ADJUSTED, str(path), hint="they are moved upright onto a larger grid",
                             found=f"slices are shifted against each other by up to {shift_mm:.0f} mm (gantry tilt of "
                                   f"{angle:.1f} degrees)"))
    before = np.floor(shifts.min(axis=0)).astype(int)
    after = np.ceil(shifts.max(axis=0)).astype(int)
    columns, rows = np.asarray(grid.size[:2]) + after - before
    upright = np.full((len(voxels), rows, columns), AIR_HU, voxels.dtype)
    height, width = voxels.shape[1:]
    for plane, target, (right, down) in zip(padding_to_air(voxels), upright, shifts - before, strict=True):
        # Whole pixels are moved as they are, only what is left over is interpolated.
        pixels = np.floor([down, right]).astype(int)
        padded = np.full((height + 1, width + 1), AIR_HU, np.float32)
        padded[:height, :width] = plane
        part = ndimage.shift(padded, np.asarray([down, right]) - pixels, order=1, mode="constant", cval=AIR_HU)
        into = target[pixels[0]:pixels[0] + height + 1, pixels[1]:pixels[1] + width + 1]
        into[...] = _rounded_to(voxels.dtype, part)[:into.shape[0], :into.shape[1]]
    x, y, z = (grid.matrix @ [*before, 0, 1])[:3].tolist()
    return upright, dataclasses.replace(grid, size=(int(columns), int(rows), len(voxels)), origin=(x, y, z))


def _evenly_spaced(path: Path, voxels: VoxelArray, heights: Coordinates, step: float, grid: Grid,
                   reporter: Reporter) -> Volume:
    """Linear interpolation between neighbouring slices onto equal distances."""
    distances = np.diff(heights)
    missing = int(np.sum(np.maximum(np.rint(distances / step) - 1, 0)))
    count = round(float(heights[-1]) / step) + 1
    gap = _widest_gap(heights, grid)
    if count > 2 * len(heights):
        raise UserError(code=Code.SLICES_MISSING, subject=path, expected="a series with all its slices",
                        found=f"{len(heights)} of about {count} (widest gap {gap})")
    lost = f", about {missing} slices are missing" if missing else ""
    reporter.warning(Problem(Code.SLICES_MISSING, str(path), found=f"slice distances run from {distances.min():.2f} to "
                             f"{distances.max():.2f} mm{lost} (widest gap {gap})",
                             hint=f"filled linearly onto {count} slices every {step:.3g} mm"))
    targets = np.minimum(np.arange(count) * step, heights[-1])
    below = np.clip(np.searchsorted(heights, targets, side="right") - 1, 0, len(heights) - 2)
    weights = (targets - heights[below]) / distances[below]
    filled = np.empty((count, *voxels.shape[1:]), voxels.dtype)
    for index, (low, weight) in enumerate(zip(below, weights, strict=True)):
        if not _ON_A_SLICE <= weight <= 1 - _ON_A_SLICE:
            filled[index] = voxels[low + round(weight)]
            continue
        pair = padding_to_air(voxels[low:low + 2]).astype(np.float32)
        filled[index] = _rounded_to(voxels.dtype, (1 - weight) * pair[0] + weight * pair[1])
    columns, rows, _ = grid.size
    return Volume(filled, dataclasses.replace(grid, size=(columns, rows, count)))


def _widest_gap(heights: Coordinates, grid: Grid) -> str:
    """Between which two places along the nearest patient axis slices lie furthest apart, in words."""
    widest = int(np.argmax(np.diff(heights)))
    normal = np.asarray(grid.direction).reshape(3, 3)[:, 2]
    axis = int(np.argmax(np.abs(normal)))
    low, high = grid.origin[axis] + normal[axis] * heights[widest:widest + 2]
    return f"between {'xyz'[axis]} = {low:.1f} and {high:.1f} mm"


def _rounded_to(dtype: np.dtype[Any], values: npt.NDArray[np.floating[Any]]) -> VoxelArray:
    if np.issubdtype(dtype, np.integer):
        values = np.rint(values)
    return values.astype(dtype)
