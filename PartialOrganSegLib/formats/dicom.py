"""A DICOM series as a volume.

Slices are sorted by their position, never by name or number, and read one by one, each with its own rescale slope.
GDCM (inside SimpleITK) reads every compressed transfer syntax that CT archives use.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..imaging.volume import Grid, Volume
from .checks import check_grid
from .dicom_grid import place_slices
from .dicom_series import Series, Slice, choose_series
from .itk import grid_of, itk_reason, quiet_itk
from .itk_names import itk_input


def read_dicom(path: Path, wanted: str | None, reporter: Reporter) -> Volume:
    """The CT series of a folder (or of one file, when that holds all slices) in HU, with gaps and tilt made good.

    Raises UserError when `choose_series` does, and for a series that is no volume.
    """
    series = choose_series(path, wanted, reporter)
    if series.tag("0008|0060") != "CT":
        reporter.warning(Problem(Code.WRONG_MODALITY, str(path), "modality CT", series.tag("0008|0060") or "none"))
    if len(series.slices) == 1:
        return _single_file(path, series, reporter)
    slices = distinct_slices(path, series, reporter)
    frame = frame_of_slices(path, slices, reporter)
    return place_slices(path, _voxels(slices, reporter), [s.position for s in slices], frame, reporter)


def frame_of_slices(path: Path, slices: list[Slice], reporter: Reporter) -> Grid:
    """The grid of slices that follow each other every millimetre along their normal, for `place_slices`."""
    rows, columns = slices[0].axes
    return check_grid(path, Grid(
        (slices[0].size[0], slices[0].size[1], len(slices)), (*slices[0].spacing, 1.0),
        tuple(float(p) for p in slices[0].position),
        tuple(float(c) for c in np.stack([rows, columns, np.cross(rows, columns)], axis=1).ravel())), reporter)


def _single_file(path: Path, series: Series, reporter: Reporter) -> Volume:
    """A multi-frame file; a single slice is refused."""
    if series.slices[0].size[2] < 2:
        raise UserError(code=Code.NOT_A_VOLUME, subject=path, expected="a CT volume",
                        found=f"a single slice ({series.line()})",
                        hint="give the folder that holds all its slices" if path.is_file() else "")
    image = _read(series.slices[0].file)
    return Volume(sitk.GetArrayFromImage(image), check_grid(path, grid_of(image), reporter))


def distinct_slices(path: Path, series: Series, reporter: Reporter) -> list[Slice]:
    """The slices from the lowest to the highest along the normal, one at each position."""
    normal = np.cross(*series.slices[0].axes)

    def order(one: Slice) -> tuple[float, int, str]:
        number = one.tags.get("0020|0013", "")
        return round(float(one.position @ normal), 2), int(number) if number.isdigit() else 0, one.file.name

    kept: list[Slice] = []
    copies: list[Slice] = []
    for one in sorted(series.slices, key=order):
        if kept and abs(float((one.position - kept[-1].position) @ normal)) < 0.01:
            copies.append(one)
        else:
            kept.append(one)
    if copies:
        reporter.warning(Problem(Code.SLICES_LEFT_OUT, str(path), found=f"{len(copies)} slices lie where another one "
                                 f"does and are left out (first: {copies[0].file.name})"))
    if len(kept) < 2:
        raise UserError(code=Code.GRID_UNUSABLE, subject=path, expected="slices at different positions",
                        found=f"{len(series.slices)} at one position")
    return kept


def _read(file: Path) -> sitk.Image:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    try:
        with itk_input(file) as name, quiet_itk():
            reader.SetFileName(name)
            return reader.Execute()
    except RuntimeError as error:
        raise UserError(code=Code.FILE_DAMAGED, subject=file, expected="a readable DICOM image",
                        found=itk_reason(error)) from error


def _voxels(slices: list[Slice], reporter: Reporter) -> np.ndarray:
    """(slices, rows, columns) in HU; int16 unless a slice needs more."""
    columns, rows, _ = slices[0].size
    voxels = np.empty((len(slices), rows, columns), np.int16)
    limits = np.iinfo(np.int16)
    planes, opened = np.empty(0), None  # of the file read last: all frames of a multi-frame one
    for index, one in enumerate(slices):
        if one.file != opened:
            planes, opened = sitk.GetArrayFromImage(_read(one.file)).reshape(-1, rows, columns), one.file
        plane = planes[one.frame or 0]
        if one.rescale != (1.0, 0.0):
            plane = plane * one.rescale[0] + one.rescale[1]
        fits = plane.dtype.kind in "iu" or np.array_equal(plane, np.rint(plane))
        if voxels.dtype == np.int16 and not (fits and plane.min() >= limits.min and plane.max() <= limits.max):
            voxels = voxels.astype(np.float32)
        voxels[index] = plane
        reporter.progress("reading slices", index + 1, len(slices))
    return voxels
