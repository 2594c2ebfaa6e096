"""What an image must be to be worth segmenting: three axes, a real spacing, right angles, finite HU of a CT."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..imaging.shapes import VoxelArray
from ..imaging.volume import Grid

AIR_HU = -1024
_BELOW_AIR_HU = -1200  # sharp kernels blur air by some hundred HU at most; below, it is padding
_THICK_MM = 20.0
_THIN_MM, _HUGE_MM = 0.01, 100.0  # micro CT, and far more than any slice distance: beyond, the unit is another one
_FAR_MM = 1e5  # a hundred metres from the scanner's centre
_AT_ONCE = 1 << 20  # bytes of a text
_BETWEEN = (b" ", b"\t", b"\n", b"\r", b"\v", b"\f", b",")  # numbers, as ITK's readers part them
_PADDING_BYTES = 512  # a block of tapes and old disks
_SHEAR_IGNORED = 1e-4  # rounding of a header: the grid stays as it is
_SHEAR_MENDED = 1e-2  # more than that moves voxels visibly
_UNUSABLE_SHARE = 0.01  # of the voxels: so many without a number are no single faults


def check_grid(path: Path | str, grid: Grid, reporter: Reporter) -> Grid:
    """The grid with its axes at right angles. Raises UserError for a grid that no volume can lie on.

    Axes that miss right angles by less than 1e-2 (cosine) are replaced by the nearest orthonormal ones, with a warning.
    """
    spacing = " x ".join(f"{s:g}" for s in grid.spacing)
    if not all(np.isfinite(s) and s > 0 for s in grid.spacing):
        raise UserError(code=Code.GRID_UNUSABLE, subject=path, expected="a positive voxel spacing",
                        found=f"{spacing} mm")
    if not np.isfinite(grid.matrix).all():
        raise UserError(code=Code.GRID_UNUSABLE, subject=path, expected="a finite origin and direction",
                        found=f"{grid.origin} and {grid.direction}")
    if min(grid.spacing) < _THIN_MM or max(grid.spacing) > _HUGE_MM:
        raise UserError(code=Code.GRID_UNUSABLE, subject=path,
                        expected=f"voxels of {_THIN_MM:g} to {_HUGE_MM:g} mm", found=f"{spacing} mm")
    if max(map(abs, grid.origin)) > _FAR_MM:
        raise UserError(code=Code.GRID_UNUSABLE, subject=path,
                        expected=f"an origin within {_FAR_MM / 1000:g} m", found=f"{grid.origin} mm")
    if min(grid.size) < 2:
        raise UserError(code=Code.NOT_A_VOLUME, subject=path, expected="a volume of several slices",
                        found=f"{' x '.join(map(str, grid.size))} voxels")
    if max(grid.spacing) > _THICK_MM:
        reporter.warning(Problem(Code.COARSE_VOXELS, str(path), found=f"voxels of {spacing} mm are too coarse for "
                                 f"small organs (expected at most {_THICK_MM:g} mm)"))
    cosines = np.asarray(grid.direction).reshape(3, 3)
    shear = float(np.abs(cosines.T @ cosines - np.eye(3)).max())
    if shear < _SHEAR_IGNORED:
        return grid
    if shear > _SHEAR_MENDED:
        raise UserError(code=Code.GRID_UNUSABLE, subject=path, expected="voxel axes at right angles",
                        found=f"a sheared grid (cosine {shear:.3f} between axes)",
                        hint="resample it to a rectangular grid first")
    reporter.warning(Problem(Code.GRID_ADJUSTED, str(path), hint="the nearest right angles are used",
                             found=f"its voxel axes are not quite at right angles (cosine {shear:.1e})"))
    # The nearest rotation to a matrix is what is left of its singular value decomposition without the values.
    u, _, v_transposed = np.linalg.svd(cosines)
    return dataclasses.replace(grid, direction=tuple((u @ v_transposed).ravel().tolist()))


def no_orientation(path: Path | str, found: str) -> Problem:
    """What is said of a file that does not tell how the patient lies in it."""
    return Problem(Code.GRID_ADJUSTED, str(path), "the directions of the voxel axes", found,
                   "they are taken as left, posterior, superior: left and right may be swapped")


def surplus_bytes(path: Path | str, surplus: int, reporter: Reporter) -> None:
    """Warns of some bytes after the voxels, as programs that write whole blocks leave them. Raises UserError for more:
    then the header and the voxels do not belong together."""
    if surplus > _PADDING_BYTES:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="voxels to the end of the file",
                        found=f"{surplus} bytes more than its header says")
    if surplus > 0:
        reporter.warning(Problem(Code.FILE_DAMAGED, str(path), hint="they are left out",
                                 found=f"{surplus} bytes after the voxels that its header describes"))


def surplus_numbers(path: Path, starts: Sequence[tuple[Path, int]], count: int, letters_each: int = 0) -> None:
    """Raises UserError for more than `count` numbers in letters, from these places of files on: then the header and the
    voxels do not belong together. `letters_each`: of hexadecimal ones, else blanks or commas part them."""
    written = 0
    for file, offset in starts:
        with open(file, "rb") as stream:
            stream.seek(offset)
            in_number = False
            while piece := stream.read(_AT_ONCE):
                words = piece.replace(b",", b" ").split()
                if letters_each:
                    written += sum(map(len, words))
                    continue
                written += len(words)
                # The rest of the last one of the piece before is none of its own.
                written -= in_number and piece[:1] not in _BETWEEN
                in_number = piece[-1:] not in _BETWEEN
    if letters_each:
        written = math.ceil(written / letters_each)
    # Fewer are said by ITK, with the place.
    if written > count:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected=f"{count} numbers, as its header says",
                        found=written)


def to_hu(path: Path | str, array: VoxelArray, reporter: Reporter) -> VoxelArray:
    """Voxels as int16 where that loses nothing, float32 otherwise; a few NaN or infinite ones become air, with a
    warning.

    Raises UserError when 1 % of the voxels or more are not finite.
    """
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array)
        count = int(np.count_nonzero(bad))
        if count >= _UNUSABLE_SHARE * array.size:
            raise UserError(code=Code.VOXELS_UNUSABLE, subject=path, expected="finite voxels",
                            found=f"{count} of {array.size} ({count / array.size:.0%}) NaN or infinite")
        if count:
            reporter.warning(Problem(Code.VOXELS_REPLACED, str(path),
                                     found=f"{count} NaN or infinite voxels were replaced by {AIR_HU} HU"))
            array = np.where(bad, AIR_HU, array)
    return _int16_if_lossless(array)


def _int16_if_lossless(array: VoxelArray) -> VoxelArray:
    if array.dtype == np.int16:
        return array
    limits = np.iinfo(np.int16)
    if array.min() < limits.min or array.max() > limits.max:
        return array.astype(np.float32)
    # Plane by plane, because rounding a whole CT at once would need as much memory again.
    if array.dtype.kind in "iu" or all(np.array_equal(plane, np.rint(plane)) for plane in array):
        return array.astype(np.int16)
    return array.astype(np.float32, copy=False)


def padding_to_air(array: VoxelArray) -> VoxelArray:
    """HU with everything below -1024 raised to it.

    Scanners fill what lies outside their field with -2000, -2048 or -3024. Reading keeps these values as the file has
    them; whoever interpolates must use this first, or the padding bleeds into the rim of the field.
    """
    raised: VoxelArray = np.maximum(array, array.dtype.type(AIR_HU))
    return raised


def doubtful_ct(array: VoxelArray) -> str | None:
    """Why an image does not look like a CT in Hounsfield units, or None when it does.

    Air (below -200 HU) surrounds or fills every patient, and soft tissue lies between -200 and 300 HU.
    """
    step = max(1, round((array.size / 2e6) ** (1 / 3)))  # two million voxels are sample enough
    sample = np.asarray(array[::step, ::step, ::step], dtype=np.float32)
    low, high = float(array.min()), float(array.max())
    extent = f"values from {low:g} to {high:g}"
    if low == high:
        return f"the same value {low:g} everywhere"
    # What lies outside of the scanner's field is no air; whatever it is filled with must not pass for some.
    is_padded = low < _BELOW_AIR_HU
    sample = sample[sample >= _BELOW_AIR_HU] if is_padded else sample
    if not sample.size:
        return f"{extent}, padding alone"
    if is_padded:
        low = float(sample.min())
    with_offset = _tissue_near_1000(sample)
    if with_offset is not None:
        return f"{extent}, tissue near {with_offset:.0f}: a CT stored with 1024 added (subtract 1024 first)"
    if low >= 0:
        if high <= 1:
            return f"{extent}: an image scaled to 0..1"
        besides = " besides padding" if is_padded else ""
        return f"{extent}, none negative{besides}: MR, PET or a labelmap"
    if np.mean(sample < -200) < 1e-3:
        return f"{extent}, no air (below -200 HU)"
    if np.mean((sample > -200) & (sample < 300)) < 5e-3:
        return f"{extent}, no soft tissue (-200 to 300 HU)"
    return None


def _tissue_near_1000(sample: npt.NDArray[np.float32]) -> float | None:
    """The middle value of the body where a CT was stored with 1024 added; None for another image.

    Then air lies near 0, the body near 1024, and below air there is nothing, or one value that fills what the scanner
    did not see.
    """
    below = sample[sample < -200]
    if below.size and not np.all(below == below[0]):
        return None
    inside = sample[sample >= -200]
    tissue = inside[inside > 400]
    near_1000 = (inside > 900) & (inside < 1200)
    # Bones and metal may be near 1000 too, but most of a body is not.
    if not tissue.size or inside.max() <= 1000 or np.mean(inside < 300) < 0.02:
        return None
    if below.size and np.mean(near_1000) < 0.2:
        return None
    middle = float(np.median(tissue))
    return middle if 900 < middle < 1200 else None
