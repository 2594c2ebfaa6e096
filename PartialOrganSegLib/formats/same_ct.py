"""Whether a DICOM series is the CT that a file holds: by its voxels, since a file has lost the series' identifiers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import Code, UserError
from .reading import read_ct

AIR_HU = -500.0  # lung is above it in part, the air around the patient never
SAME_HU = 1.5  # of rounding, where the file was written as whole numbers and the series has a fractional slope
# Programs fill what lies outside of the scanner's field in their own ways, and a tilted series is resampled.
SAME_SHARE = 0.7


def refuse_another_series(ct: Path, reference: Path, series: str | None) -> None:
    """Raises UserError for a series whose voxels are not those of `ct`: labels would go to another patient's files.

    Compared is what is denser than air in either image, the body; two patients never agree there.
    """
    volume, of_series = read_ct(ct, force=True).canonical(), read_ct(reference, series, force=True).canonical()
    if volume.array.shape != of_series.array.shape:
        raise _another(ct, reference, f"{_times(of_series.array.shape)} voxels, not {_times(volume.array.shape)}")
    hu, hu_of_series = volume.array.astype(np.float32), of_series.array.astype(np.float32)
    body = (hu > AIR_HU) | (hu_of_series > AIR_HU)
    share = 0.0
    if body.any():
        share = float((np.abs(hu[body] - hu_of_series[body]) <= SAME_HU).mean())
    if share < SAME_SHARE:
        raise _another(ct, reference, f"one that agrees in {share:.0%} of the body's voxels")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in reversed(shape))


def _another(ct: Path, reference: Path, found: str) -> UserError:
    return UserError(code=Code.SETTINGS_CONFLICT, subject=reference, expected=f"the DICOM series of {ct.name}",
                     found=found, hint="it is the series of another CT")
