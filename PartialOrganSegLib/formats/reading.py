"""Reads CTs and labelmaps from files and DICOM folders, and says in one line what is wrong with a bad one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import UserError
from ..events import Reporter
from ..imaging.volume import Grid, Volume
from . import dicom, dicom_series
from .checks import check_grid, doubtful_ct, to_hu
from .itk import grid_of, itk_reason, quiet_itk
from .itk_names import itk_input
from .metaimage import check_metaimage
from .nifti import NiftiHeader, is_nifti, read_nifti

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_SILENT = Reporter()


def read_ct(path: Path | str, series: str | None = None, reporter: Reporter = _SILENT, force: bool = False) -> Volume:
    """A CT in HU, int16 where that loses nothing, else float32, from a file or a DICOM folder.

    `series` chooses among several DICOM series: its number in the list, its UID or its description. Padding outside the
    scanner's field (-2048, -3024) is kept, see `checks.padding_to_air`. What can be mended is told as a warning.
    Raises UserError for anything that is not one 3-D CT; an image that is whole but does not look like a CT is read
    all the same with `force`.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: expected a CT file or a DICOM folder, found nothing there")
    if path.is_dir() or not _is_volume_file(path):
        volume = dicom.read_dicom(path, series, reporter)
    else:
        if series is not None:
            raise UserError(f"--series {series}: expected a DICOM folder, found the file {path}")
        volume = _read_file(path, reporter)
    return checked_ct(path, volume, reporter, force)


def checked_ct(name: Path | str, volume: Volume, reporter: Reporter, force: bool) -> Volume:
    """The volume in HU, int16 where that loses nothing. Raises UserError for what does not look like a CT in HU,
    unless `force`, which makes it a warning; `name` is how the lines call it."""
    volume = Volume(to_hu(name, volume.array, reporter), volume.grid)
    reason = doubtful_ct(volume.array)
    if reason and not force:
        raise UserError(f"{name}: expected a CT in HU, found {reason}; --force segments it anyway")
    if reason:
        reporter.warning(f"{name}: does not look like a CT in HU: {reason}")
    return volume


def read_labelmap(path: Path | str, reporter: Reporter = _SILENT) -> Volume:
    """A labelmap from a file, uint8 where its values allow it, else the smallest integer type that holds them.

    Raises UserError for anything that is not one 3-D image of whole, non-negative numbers.
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing there"
        raise UserError(f"{path}: expected a labelmap file, found {found}")
    volume = _read_file(path, reporter)
    array = volume.array
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and np.array_equal(array, np.rint(array))):
        raise UserError(f"{path}: expected whole numbers as labels, found fractions")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > np.iinfo(np.uint32).max:
        raise UserError(f"{path}: expected labels from 0 on, found {low} to {high}")
    return Volume(array.astype(np.min_scalar_type(high), copy=False), volume.grid)


def list_inputs(paths: Sequence[Path | str], leave_out: Callable[[Path], bool] = lambda path: False) -> list[Path]:
    """The CTs that files and folders stand for: a folder's volume files, or itself when it holds DICOM files.

    A folder without either stands for each of its own folders that holds DICOM files. What lies in a given folder and
    `leave_out` says does not count. Raises UserError for one that holds no image, and for a path that does not exist.
    """
    inputs: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(f"{path}: expected a CT file or a folder, found nothing there")
        inputs += _inside(path, leave_out) if path.is_dir() else [path]
    return list(dict.fromkeys(inputs))


def _inside(folder: Path, leave_out: Callable[[Path], bool]) -> list[Path]:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and not leave_out(entry))
    volumes = [entry for entry in entries if entry.is_file() and _is_volume_file(entry)
               and not entry.name.lower().endswith(".seg.nrrd")]
    if volumes:
        return volumes
    if any(entry.is_file() and dicom_series.looks_like_dicom(entry) for entry in entries):
        return [folder]
    folders = [entry for entry in entries if entry.is_dir() and dicom_series.holds_dicom(entry)]
    if not folders:
        raise UserError(f"{folder}: expected CT files ({', '.join(VOLUME_SUFFIXES)}) or DICOM files, found none")
    return folders


def _is_volume_file(path: Path) -> bool:
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def _read_file(path: Path, reporter: Reporter) -> Volume:
    """One scalar 3-D volume from a file, its values as stored."""
    try:
        if is_nifti(path):
            header, array = read_nifti(path)
            grid = _nifti_grid(path, header, reporter)
        else:
            array, grid = _read_with_itk(path)
    except (OSError, MemoryError, ValueError, OverflowError) as error:  # ValueError: sizes no array can have
        raise UserError(f"{path}: expected a readable image, found a damaged one: {error}") from error
    return Volume(array, check_grid(path, grid, reporter))


def _nifti_grid(path: Path, header: NiftiHeader, reporter: Reporter) -> Grid:
    """ITK's reading of the header, so that the result lies where Slicer shows the input; faults it hides are told."""
    if not all(np.isfinite(p) and p > 0 for p in header.pixdim):
        spacing = " x ".join(f"{p:g}" for p in header.pixdim)
        raise UserError(f"{path}: expected a positive voxel spacing, found {spacing} mm")
    sform = None
    if header.sform is not None:
        try:
            sform = header.sform_grid()
        except ValueError as error:
            raise UserError(f"{path}: expected a position for every voxel, found {error}") from error
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    try:
        with itk_input(path) as name, quiet_itk():
            reader.SetFileName(name)
            reader.ReadImageInformation()
    except RuntimeError as error:
        if sform is None:
            raise UserError(f"{path}: expected a readable NIfTI header, found: {itk_reason(error)}") from error
        return sform  # ITK refuses axes that are not quite at right angles; check_grid mends or refuses them
    grid = grid_of(reader)
    if sform is not None and not grid.same_as(sform, tolerance_mm=0.5):
        reporter.warning(f"{path}: the header gives two different positions (sform and qform); the qform is used")
    return grid


def _read_with_itk(path: Path) -> tuple[np.ndarray, Grid]:
    if path.suffix.lower() in (".mha", ".mhd"):
        check_metaimage(path)
    try:
        with itk_input(path) as name, quiet_itk():
            image = sitk.ReadImage(name)
    except RuntimeError as error:
        reason = itk_reason(error)
        reason = "other content" if reason.startswith("Unable to determine ImageIO") else f"damage: {reason}"
        raise UserError(f"{path}: expected a whole NRRD or MetaImage file, found {reason}") from error
    return scalar_voxels(path, image)


def scalar_voxels(path: Path | str, image: sitk.Image) -> tuple[np.ndarray, Grid]:
    """The voxels (z, y, x) of an image, and where they lie. Raises UserError for what is not one 3-D volume of numbers;
    `path` is how the line calls it."""
    components = image.GetNumberOfComponentsPerPixel()
    if components > 1:
        raise UserError(f"{path}: expected one number a voxel, found {components} (colours, vectors or layers)")
    size = image.GetSize()
    if len(size) < 3:
        raise UserError(f"{path}: expected a 3-D volume, found a 2-D image of {' x '.join(map(str, size))}")
    if len(size) > 3 and size[3] > 1:
        raise UserError(f"{path}: expected one 3-D volume, found {size[3]} volumes")
    array = sitk.GetArrayFromImage(image)
    if array.dtype.kind not in "iuf":
        raise UserError(f"{path}: expected integer or float voxels, found {image.GetPixelIDTypeAsString()}")
    return array.reshape(array.shape[-3:]), grid_of(image)
