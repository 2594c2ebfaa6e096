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
from ..imaging.shapes import VoxelArray
from ..imaging.volume import Grid, Volume
from .checks import AIR_HU, check_grid
from .dicom_attributes import RESCALE_TYPE, bad_stack_attribute, has_rescale
from .dicom_choice import choose_series
from .dicom_grid import place_slices
from .dicom_pixels import for_gdcm, padding_hu
from .dicom_series import Series, mixes_scans
from .dicom_slices import INSTANCE_NUMBER, MODALITY, SOP_INSTANCE_UID, Slice
from .dicom_syntax import refuse_syntax
from .itk import grid_of, itk_reason, quiet_itk
from .itk_names import itk_input

_MIXED = 0.5  # of the places: with a second image at more, two volumes lie in one series
_UNITS = ("", "HU", "US")  # US: not specified, which many scanners write for HU
_SHOWN = 60
_SAME_PLACE_MM = 0.01  # slices nearer to each other are two images of one place


def read_dicom(path: Path, choice: str | None, reporter: Reporter) -> Volume:
    """The CT series of a folder (or of one file, when that holds all slices) in HU, with gaps and tilt made good.

    Raises UserError when `choose_series` does, and for a series that is no volume.
    """
    series = choose_series(path, choice, reporter)
    if series.tag(MODALITY) != "CT":
        reporter.warning(Problem(Code.WRONG_MODALITY, str(path), "modality CT", series.tag(MODALITY) or "none"))
    # One "slice" with several frames: a file whose frames have no places of their own.
    if len(series.slices) == 1:
        return _single_file(path, series, reporter)
    slices = distinct_slices(path, series, reporter)
    _check_rescale(path, slices, reporter)
    _check_unit(path, slices, reporter)
    unit_grid = grid_of_slices(path, slices, reporter)
    positions = [ct_slice.position for ct_slice in slices]
    return place_slices(path, _voxels(slices, reporter), positions, unit_grid, reporter)


def grid_of_slices(path: Path, slices: list[Slice], reporter: Reporter) -> Grid:
    """The grid of slices that follow each other every millimetre along their normal, for `place_slices`."""
    first = slices[0]
    columns, rows, _ = first.size
    x, y, z = first.position.tolist()
    direction = np.stack([*first.axes, first.normal], axis=1)
    return check_grid(path, Grid((columns, rows, len(slices)), (*first.spacing, 1.0), (x, y, z),
                                 tuple(direction.ravel().tolist())), reporter)


def _check_rescale(path: Path, slices: list[Slice], reporter: Reporter) -> None:
    """Warns of slices that do not say how their numbers become HU. Raises UserError where only some of them say it."""
    without = [ct_slice for ct_slice in slices if ct_slice.frame is None and not has_rescale(ct_slice.tags)]
    if not without:
        return
    if len(without) < len(slices):
        raise UserError(code=Code.DICOM_TAG_MISSING, subject=without[0].file,
                        expected="Rescale Slope and Intercept (0028,1053 and 0028,1052), as other slices have",
                        found="none")
    reporter.warning(Problem(Code.DICOM_TAG_MISSING, str(path), "Rescale Slope and Intercept (0028,1053 and 0028,1052)",
                             "none", "the stored numbers are taken as HU"))


def _check_unit(path: Path, slices: list[Slice], reporter: Reporter) -> None:
    """Warns of slices that state another unit than HU, as maps of electron density or iodine do."""
    units = {ct_slice.tag(RESCALE_TYPE) for ct_slice in slices}
    unknown = sorted(units - set(_UNITS))
    if unknown:
        found = f"'{unknown[0][:_SHOWN]}'"
        if len(units) > 1:
            found += " in some slices"
        reporter.warning(Problem(Code.WRONG_MODALITY, str(path), "HU as Rescale Type (0028,1054)", found))


def _single_file(path: Path, series: Series, reporter: Reporter) -> Volume:
    """A multi-frame file; a single slice is refused."""
    if series.slices[0].size[2] < 2:
        raise UserError(code=Code.NOT_A_VOLUME, subject=path, expected="a CT volume",
                        found=f"a single slice ({series.line()})",
                        hint="give the folder that holds all its slices" if path.is_file() else "")
    image = _read(series.slices[0])
    # Without functional groups GDCM stacks the frames every millimetre where the header does not say otherwise.
    bad = bad_stack_attribute(series.slices[0].tags)
    if bad is not None:
        raise UserError(code=Code.DICOM_TAG_MISSING, subject=series.slices[0].file, expected=bad.expected,
                        found=bad.found)
    return Volume(sitk.GetArrayFromImage(image), check_grid(path, grid_of(image), reporter))


def distinct_slices(path: Path, series: Series, reporter: Reporter) -> list[Slice]:
    """The slices from the lowest to the highest along the normal, one at each position.

    Raises UserError for slices that may be those of two scans, and for files of many frames without places.
    """
    if mixes_scans(series):
        raise UserError(code=Code.SERIES_UNCLEAR, subject=path, expected="the slices of one scan",
                        found="slices without a Series Instance UID that repeat each other's number or place",
                        hint="put every scan into a folder of its own")
    volumes = [ct_slice.file.name for ct_slice in series.slices if ct_slice.size[2] > 1]
    if volumes:
        raise UserError(code=Code.SERIES_UNCLEAR, subject=path,
                        expected="one multi-frame file, or frames that say where they lie",
                        found=f"{len(volumes)} multi-frame files in one series ({', '.join(sorted(volumes)[:3])})",
                        hint="read each file by itself")
    normal = series.slices[0].normal

    def order(ct_slice: Slice) -> tuple[float, int, str]:
        number = ct_slice.tag(INSTANCE_NUMBER)
        # Of several images of one place the first by number is taken, so that as a rule all are of the same pass.
        return round(float(ct_slice.position @ normal), 2), int(number) if number.isdigit() else 0, ct_slice.file.name

    slices: list[Slice] = []
    duplicates: list[Slice] = []
    for ct_slice in sorted(series.slices, key=order):
        if slices and abs(float((ct_slice.position - slices[-1].position) @ normal)) < _SAME_PLACE_MM:
            duplicates.append(ct_slice)
        else:
            slices.append(ct_slice)
    used_images = {ct_slice.tag(SOP_INSTANCE_UID) for ct_slice in slices}
    if duplicates:
        reporter.warning(Problem(Code.SLICES_LEFT_OUT, str(path), found=f"{len(duplicates)} slices lie where another "
                                 f"one does and are left out (first: {duplicates[0].file.name})"))
    # A copy of a file shares its SOP Instance UID; different images at most places are two volumes.
    further_images = [ct_slice for ct_slice in duplicates if ct_slice.tag(SOP_INSTANCE_UID) not in used_images]
    if len(further_images) > _MIXED * len(slices):
        raise UserError(code=Code.SERIES_UNCLEAR, subject=path, expected="one image at each place",
                        found=f"{len(slices) + len(further_images)} images at {len(slices)} places, which no attribute "
                              "tells apart", hint="put each volume into a folder of its own")
    if len(slices) < 2:
        raise UserError(code=Code.GRID_UNUSABLE, subject=path, expected="slices at different positions",
                        found=f"{len(series.slices)} at one position")
    return slices


def _read(ct_slice: Slice) -> sitk.Image:
    file = ct_slice.file
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    try:
        with for_gdcm(file, ct_slice.tags) as readable, itk_input(readable) as name, quiet_itk():
            reader.SetFileName(name)
            image: sitk.Image = reader.Execute()
    except RuntimeError as error:
        refuse_syntax(file)
        raise UserError(code=Code.FILE_DAMAGED, subject=file, expected="a readable DICOM image",
                        found=itk_reason(error)) from error
    return image


def _voxels(slices: list[Slice], reporter: Reporter) -> VoxelArray:
    """(slices, rows, columns) in HU; int16 unless a slice needs more."""
    columns, rows, _ = slices[0].size
    voxels: VoxelArray = np.empty((len(slices), rows, columns), np.int16)
    limits = np.iinfo(np.int16)
    # A multi-frame file is read once for all its frames, which follow each other nearly always.
    file, planes = slices[0].file, _planes(slices[0])
    for index, ct_slice in enumerate(slices):
        if ct_slice.file != file:
            file, planes = ct_slice.file, _planes(ct_slice)
        plane = planes[ct_slice.frame or 0]
        padding = padding_hu(ct_slice.tags) if ct_slice.frame is None else None
        if padding is not None:
            plane = np.where(np.abs(plane - padding) < 1, AIR_HU, plane)
        slope, intercept = ct_slice.rescale
        if (slope, intercept) != (1.0, 0.0):
            plane = plane * slope + intercept
        whole_numbers = plane.dtype.kind in "iu" or np.array_equal(plane, np.rint(plane))
        fits = whole_numbers and plane.min() >= limits.min and plane.max() <= limits.max
        # Once a slice needs float32, the ones before are converted and all that follow are stored so.
        if voxels.dtype == np.int16 and not fits:
            voxels = voxels.astype(np.float32)
        voxels[index] = plane
        reporter.progress("reading slices", index + 1, len(slices))
    return voxels


def _planes(ct_slice: Slice) -> VoxelArray:
    """All frames (frames, rows, columns) of a slice's file, with the first frame's rescale slope and intercept."""
    columns, rows, _ = ct_slice.size
    return sitk.GetArrayFromImage(_read(ct_slice)).reshape(-1, rows, columns)
