"""Puts slices that lie unevenly, with gaps or along a tilted line onto one rectangular grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..imaging.volume import Grid, Volume
from .checks import AIR_HU, padding_to_air

_UNEVEN, _UNEVEN_MM = 0.05, 0.1  # of the slice distance, or mm: less is the rounding of positions in headers
_SHIFTED_PIXELS = 0.5  # a slice this far from the stack's axis is shown at the wrong place


def place_slices(path: Path, voxels: np.ndarray, positions: Sequence[np.ndarray], frame: Grid,
                 reporter: Reporter) -> Volume:
    """A volume of slices (z, y, x), whose first voxels lie at `positions` (LPS mm) along the frame's third axis.

    `frame` gives size, in-plane spacing, direction and the first slice's origin. Missing slices and uneven distances
    are filled by linear interpolation on a regular grid; a stack sheared by gantry tilt is shifted upright, and the
    grid grows by what that needs. Both are told. Raises UserError when gaps would more than double the volume.
    """
    cosines = np.asarray(frame.direction).reshape(3, 3)
    local = (np.asarray(positions) - positions[0]) @ cosines  # mm along rows, columns and the normal
    heights = local[:, 2]
    step, regular = _regular(heights)
    if regular:
        step = float(heights[-1]) / (len(heights) - 1)
    grid = dataclasses.replace(frame, spacing=(*frame.spacing[:2], step))
    shifts = local[:, :2] / np.asarray(frame.spacing[:2])
    if np.abs(shifts).max() > _SHIFTED_PIXELS:
        voxels, grid = _upright(path, voxels, shifts, local, grid, reporter)
    if regular:
        return Volume(voxels, grid)
    return _even(path, voxels, heights, step, grid, reporter)


def _regular(heights: np.ndarray) -> tuple[float, bool]:
    """The slice distance that most slices keep (else about the smallest), and whether all of them keep it."""
    distances = np.diff(heights)
    values, counts = np.unique(np.round(distances, 2), return_counts=True)
    median = float(np.median(distances))
    usual = float(values[np.argmax(counts)])
    alike = np.abs(distances - usual) <= max(_UNEVEN * usual, _UNEVEN_MM)
    step = float(distances[alike].mean()) if alike.mean() >= 0.5 else max(float(distances.min()), median / 2)
    even = heights[-1] / (len(heights) - 1) * np.arange(len(heights))
    return step, bool(np.abs(heights - even).max() <= max(_UNEVEN * step, _UNEVEN_MM))


def _upright(path: Path, voxels: np.ndarray, shifts: np.ndarray, local: np.ndarray, grid: Grid,
             reporter: Reporter) -> tuple[np.ndarray, Grid]:
    """Moves each slice within its plane to where it lies in the patient; the stack was sheared."""
    angle = np.degrees(np.arctan2(np.linalg.norm(local[-1, :2]), local[-1, 2]))
    shift = np.abs(local[:, :2]).max()
    reporter.warning(Problem(Code.GRID_ADJUSTED, str(path), hint="they are moved upright onto a larger grid",
                             found=f"slices are shifted against each other by up to {shift:.0f} mm (gantry tilt of "
                                   f"{angle:.1f} degrees)"))
    before = np.floor(shifts.min(axis=0)).astype(int)
    after = np.ceil(shifts.max(axis=0)).astype(int)
    columns, rows = np.asarray(grid.size[:2]) + after - before
    moved = np.full((len(voxels), rows, columns), AIR_HU, voxels.dtype)
    height, width = voxels.shape[1:]
    for plane, target, (right, down) in zip(padding_to_air(voxels), moved, shifts - before, strict=True):
        whole = np.floor([down, right]).astype(int)
        padded = np.full((height + 1, width + 1), AIR_HU, np.float32)
        padded[:height, :width] = plane
        part = ndimage.shift(padded, np.asarray([down, right]) - whole, order=1, mode="constant", cval=AIR_HU)
        into = target[whole[0]:whole[0] + height + 1, whole[1]:whole[1] + width + 1]
        into[...] = _as(part, voxels.dtype)[:into.shape[0], :into.shape[1]]
    corner = (grid.matrix @ [*before, 0, 1])[:3]
    return moved, dataclasses.replace(grid, size=(int(columns), int(rows), len(voxels)),
                                      origin=tuple(float(c) for c in corner))


def _even(path: Path, voxels: np.ndarray, heights: np.ndarray, step: float, grid: Grid,
          reporter: Reporter) -> Volume:
    """Linear interpolation between neighbouring slices onto equal distances."""
    distances = np.diff(heights)
    widest = int(np.argmax(distances))
    missing = int(np.sum(np.maximum(np.rint(distances / step) - 1, 0)))
    count = round(float(heights[-1]) / step) + 1
    axis = np.asarray(grid.direction).reshape(3, 3)[:, 2]
    world = int(np.argmax(np.abs(axis)))
    low, high = (grid.origin[world] + axis[world] * heights[widest + i] for i in (0, 1))
    where = f"between {'xyz'[world]} = {low:.1f} and {high:.1f} mm"
    if count > 2 * len(heights):
        raise UserError(code=Code.SLICES_MISSING, subject=path, expected="a series with all its slices",
                        found=f"{len(heights)} of about {count} (widest gap {where})")
    lost = f", about {missing} slices are missing" if missing else ""
    reporter.warning(Problem(Code.SLICES_MISSING, str(path), found=f"slice distances run from {distances.min():.2f} to "
                             f"{distances.max():.2f} mm{lost} (widest gap {where})",
                             hint=f"filled linearly onto {count} slices every {step:.3g} mm"))
    wanted = np.minimum(np.arange(count) * step, heights[-1])
    below = np.clip(np.searchsorted(heights, wanted, side="right") - 1, 0, len(heights) - 2)
    weight = (wanted - heights[below]) / distances[below]
    filled = np.empty((count, *voxels.shape[1:]), voxels.dtype)
    for index, (low_slice, share) in enumerate(zip(below, weight, strict=True)):
        if share < 1e-3 or share > 1 - 1e-3:
            filled[index] = voxels[low_slice + round(share)]
            continue
        pair = padding_to_air(voxels[low_slice:low_slice + 2]).astype(np.float32)
        filled[index] = _as((1 - share) * pair[0] + share * pair[1], voxels.dtype)
    return Volume(filled, dataclasses.replace(grid, size=(*grid.size[:2], count)))


def _as(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.rint(values).astype(dtype) if np.issubdtype(dtype, np.integer) else values.astype(dtype)
