"""A CT however Python code has it: as a file, a SimpleITK image, a volume or an array."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import Code, UserError, brief
from ..events import Reporter
from ..imaging.shapes import VoxelArray
from ..imaging.volume import Grid, Volume
from .checks import check_grid
from .itk_image import scalar_voxels
from .reading import checked_ct, read_ct


def as_ct(ct: object, *, spacing: Sequence[float] | None = None, origin: Sequence[float] | None = None,
          direction: npt.ArrayLike | None = None, grid: Grid | None = None, series: str | None = None,
          force: bool = False, reporter: Reporter | None = None) -> Volume:
    """The CT in HU, int16 where that loses nothing, else float32, with the checks of `read_ct`.

    `ct`: a path (file or DICOM folder), a SimpleITK image, a `Volume`, or an array (z, y, x) in HU. An array needs
    `grid`, or `spacing` (x, y, z) in mm and, where the voxel axes are not the patient's left, posterior and superior,
    `direction` (3x3, row-major: its columns are the axes x, y, z of the voxels in LPS); `origin` (x, y, z) in mm is the
    centre of voxel 0 (default: 0). Raises UserError for anything that is not one 3-D CT.

    >>> volume = as_ct(np.full((4, 5, 6), -1000), spacing=(0.8, 0.8, 5), force=True)
    >>> volume.array.dtype.name, volume.grid.size
    ('int16', (6, 5, 4))
    """
    reporter = reporter or Reporter()
    geometry = {"spacing": spacing, "origin": origin, "direction": direction, "grid": grid}
    arguments = [name for name, value in geometry.items() if value is not None]
    if not isinstance(ct, np.ndarray) and arguments:
        raise UserError(code=Code.SETTINGS_CONFLICT, subject="ct",
                        expected=f"{', '.join(arguments)} beside an array alone",
                        found=f"{type(ct).__name__}, which has its own")
    # From here on only arrays need a grid from outside; everything else brings its own.
    if isinstance(ct, (str, os.PathLike)):
        return read_ct(Path(ct), series, reporter, force)
    if isinstance(ct, Volume):
        name, array, ct_grid = "volume", ct.array, ct.grid
    elif isinstance(ct, sitk.Image):
        name = "image"
        array, ct_grid = scalar_voxels(name, ct)
    elif isinstance(ct, np.ndarray):
        name, array = "array", ct
        ct_grid = _grid_of(ct, spacing, origin, direction, grid)
    else:
        raise UserError(code=Code.VALUE_UNFIT, subject="ct",
                        expected="a path, a SimpleITK image, a Volume or an array (z, y, x)", found=type(ct).__name__)
    # Booleans are masks, and complex numbers no HU.
    if array.dtype.kind not in "iuf":
        raise UserError(code=Code.WRONG_FORMAT, subject=name, expected="integer or float voxels", found=array.dtype)
    return checked_ct(name, Volume(array, check_grid(name, ct_grid, reporter)), reporter, force)


def _grid_of(array: VoxelArray, spacing: Sequence[float] | None, origin: Sequence[float] | None,
             direction: npt.ArrayLike | None, grid: Grid | None) -> Grid:
    """Where an array lies. Raises UserError for another number of axes, and for missing or conflicting arguments."""
    if array.ndim != 3:
        raise UserError(code=Code.NOT_A_VOLUME, subject="array", expected="axes (z, y, x)",
                        found=f"the shape {array.shape}")
    if grid is not None:
        if any(value is not None for value in (spacing, origin, direction)):
            raise UserError(code=Code.SETTINGS_CONFLICT, subject="array", expected="grid alone",
                            found="spacing, origin or direction beside it")
        if grid.shape != array.shape:
            raise UserError(code=Code.GEOMETRY_DIFFERS, subject="array",
                            expected=f"the grid's shape {grid.shape} (z, y, x)", found=array.shape)
        return grid
    if spacing is None:
        raise UserError(code=Code.SETTING_MISSING, subject="array",
                        expected="spacing=(x, y, z) in mm or grid=Grid(...)", found="neither")
    # Arrays are indexed (z, y, x), grids are described (x, y, z).
    depth, height, width = array.shape
    dx, dy, dz = _numbers("spacing", spacing, 3)
    placed = Grid((width, height, depth), (dx, dy, dz))
    if origin is not None:
        x, y, z = _numbers("origin", origin, 3)
        placed = replace(placed, origin=(x, y, z))
    if direction is not None:
        placed = replace(placed, direction=_numbers("direction", direction, 9))
    return placed


def _numbers(name: str, value: npt.ArrayLike, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(number) for number in np.asarray(value, float).ravel())
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count:
        raise UserError(code=Code.VALUE_UNFIT, subject=f"array: {name}", expected=f"{count} numbers",
                        found=brief(value))
    return numbers
