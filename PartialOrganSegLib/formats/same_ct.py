"""Whether a DICOM series is the CT that a file holds: by its voxels, since a file has lost the series' identifiers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..imaging.volume import Volume
from .reading import read_ct

if TYPE_CHECKING:
    from ..imaging.shapes import Affine

AIR_HU = -500.0  # lung is above it in part, the air around the patient never
SAME_HU = 1.5  # of rounding, where the file was written as whole numbers and the series has a fractional slope
# Programs fill what lies outside of the scanner's field in their own ways, and a tilted series is resampled.
SAME_SHARE = 0.7
# Of voxels that were interpolated, by whatever kernel: noise is the only difference. Two patients are far below it.
SAME_CORRELATION = 0.9
_WHOLE = 0.05  # voxels that a grid may be off and its voxels still count as the series' own
_SAMPLES = 200_000  # voxels that are compared at their places
_FEWEST = 0.5  # share of them that must lie within the series
_HIGHEST_HU = 1000.0  # metal would outweigh the body


def place_in_series(labels: Volume, ct: Path, reference: Path, series: str | None, reporter: Reporter) -> Volume:
    """Labels that were made on the CT of the file `ct`, where its voxels lie in the series.

    Where the file has all voxels of the series in another place (it was moved by a program after it was read), that is
    the series' own grid, which is reported. Else they stay: the file may hold a part of the series, or be resampled
    from it. Raises UserError for a series whose voxels are not those of `ct`, or lie elsewhere: labels would go to
    another patient's files, or to the wrong place in the patient.
    """
    volume, of_series = read_ct(ct, force=True).canonical(), read_ct(reference, series, force=True).canonical()
    share = _share_of_equal(volume.array, of_series.array)
    if share >= SAME_SHARE:
        labels = labels.canonical()
        tolerance_mm = _WHOLE * min(volume.grid.spacing)
        if labels.grid.same_as(volume.grid, tolerance_mm) and not volume.grid.same_as(of_series.grid, tolerance_mm):
            reporter.warning(Problem(
                Code.GEOMETRY_DIFFERS, str(ct), found="the CT lies elsewhere than its DICOM series, from which it was "
                "moved; the labels are written at the series' place"))
            return Volume(labels.array, of_series.grid)
        return labels
    if not _lies_in(volume, of_series):
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=reference, expected=f"the DICOM series of {ct.name}",
                        found=_difference(volume, of_series, share),
                        hint="it is the series of another CT, or the CT was moved or deformed after it was read")
    return labels


def _share_of_equal(hu: npt.NDArray[np.generic], hu_of_series: npt.NDArray[np.generic]) -> float:
    """Of the voxels that are denser than air in either image, the body; 0 for arrays of other shapes.

    Two patients never agree there.
    """
    if hu.shape != hu_of_series.shape:
        return 0.0
    first, second = hu.astype(np.float32), hu_of_series.astype(np.float32)
    body = (first > AIR_HU) | (second > AIR_HU)
    if not body.any():
        return 0.0
    return float((np.abs(first[body] - second[body]) <= SAME_HU).mean())


def _difference(volume: Volume, of_series: Volume, share: float) -> str:
    if volume.array.shape != of_series.array.shape:
        return (f"{_times(of_series.array.shape)} voxels, and others where its {_times(volume.array.shape)} lie")
    return f"one that agrees in {share:.0%} of the body's voxels"


def _lies_in(volume: Volume, of_series: Volume) -> bool:
    """Whether the series has the volume's voxels at their places in the patient: where it is a part of the series, or
    was resampled from it. They fit there better than a voxel beside, which one that was moved does not."""
    to_series = np.linalg.inv(of_series.grid.matrix) @ volume.grid.matrix
    step = max(1, round((volume.array.size / _SAMPLES) ** (1 / 3)))
    sampled = volume.array[::step, ::step, ::step].astype(np.float32)
    numbers = np.indices(sampled.shape).reshape(3, -1)[::-1] * step  # x, y, z
    places = to_series[:3, :3] @ numbers + to_series[:3, 3:]
    last = np.array(of_series.grid.size)[:, None] - 1
    # a margin of one voxel: it is compared with its neighbours, too
    inside = ((places >= 1) & (places <= last - 1)).all(axis=0)
    if inside.mean() < _FEWEST:
        return False
    hu, places = sampled.reshape(-1)[inside], places[:, inside]
    here = _at(of_series, places)
    body = (hu > AIR_HU) | (here > AIR_HU)
    hu, places, here = hu[body], places[:, body], here[body]
    if not hu.size:
        return False
    # where the voxels are the series' own they are the same numbers; phases of contrast agree in all but these
    if _is_part(to_series) and (np.abs(hu - here) <= SAME_HU).mean() < SAME_SHARE:
        return False
    best = _correlation(hu, here)
    beside = [_correlation(hu, _at(of_series, places + shift[:, None]))
              for axis in np.eye(3) for shift in (axis, -axis)]
    return best >= SAME_CORRELATION and best >= max(beside)


def _is_part(to_series: Affine) -> bool:
    """Whether voxels of the one grid are voxels of the other."""
    return bool(np.abs(to_series - np.rint(to_series)).max() < _WHOLE)


def _at(of_series: Volume, places: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """HU at places (x, y, z in voxels), by linear interpolation."""
    from scipy.ndimage import map_coordinates

    values: npt.NDArray[np.float32] = map_coordinates(of_series.array, places[::-1], output=np.float32, order=1,
                                                      mode="nearest")
    return values


def _correlation(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    """Pearson's; 0 where one of them does not vary."""
    first, second = np.minimum(first, _HIGHEST_HU), np.minimum(second, _HIGHEST_HU)
    if not (first.std() and second.std()):
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in reversed(shape))
