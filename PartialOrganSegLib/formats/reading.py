"""Reads CTs and labelmaps from files and DICOM folders, and says in one line what is wrong with a bad one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..imaging.volume import Volume
from . import dicom_slices
from .checks import check_grid, doubtful_ct, to_hu
from .folder_files import refuse_pipe
from .nifti import pair_refused
from .registry import FORMATS, Format, ImageFormat, SeriesFormat, format_of, is_volume_name, volume_suffixes
from .slicer_segmentation import is_segmentation

_SERIES, _ANY_IMAGE = "dicom", "nrrd"  # formats that try files whose names say nothing
_NRRD_BEGINS = b"NRRD"
_PAIRS = (".hdr", ".img", ".hdr.gz", ".img.gz")  # NIfTI and Analyze in two files
_SILENT = Reporter()


def read_ct(path: Path | str, series: str | None = None, reporter: Reporter = _SILENT, force: bool = False) -> Volume:
    """A CT in HU, int16 where that loses nothing, else float32, from a file or a DICOM folder.

    `series` chooses among several DICOM series: its number in the list, its UID or its description. Padding outside the
    scanner's field (-2048, -3024) is kept, see `checks.padding_to_air`. What can be mended is mended with a warning.
    Raises UserError for anything that is not one 3-D CT; an image that is whole but does not look like a CT is read
    all the same with `force`.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(code=Code.FILE_MISSING, subject=path, expected="a CT file or a DICOM folder",
                        found="nothing there")
    refuse_pipe(path)
    if path.name.lower().endswith(_PAIRS):
        raise pair_refused(path)
    if is_segmentation(path):
        raise UserError(code=Code.NOT_A_CT, subject=path, expected="a CT", found="a segmentation of 3D Slicer")
    kind = format_of(path) or FORMATS.find(_SERIES)  # which says what is wrong with a file that nobody reads
    if isinstance(kind, SeriesFormat):
        volume = kind.read_series(path, series, reporter)
    else:
        if series is not None:
            raise UserError(code=Code.SETTINGS_CONFLICT, subject=f"--series {series}", expected="a DICOM folder",
                            found=f"the file {path}")
        volume = _read_file(path, kind, reporter)
    return checked_ct(path, volume, reporter, force)


def checked_ct(name: Path | str, volume: Volume, reporter: Reporter, force: bool) -> Volume:
    """The volume in HU, int16 where that loses nothing. Raises UserError for what does not look like a CT in HU,
    unless `force`, which makes it a warning; `name` is how the lines call it."""
    volume = Volume(to_hu(name, volume.array, reporter), volume.grid)
    reason = doubtful_ct(volume.array)
    if reason and not force:
        raise UserError(code=Code.NOT_A_CT, subject=name, expected="a CT in HU", found=reason,
                        hint="--force segments it anyway")
    if reason:
        reporter.warning(Problem(Code.NOT_A_CT, str(name), found=f"does not look like a CT in HU: {reason}"))
    return volume


def read_labelmap(path: Path | str, reporter: Reporter = _SILENT, segmentations: bool = False) -> Volume:
    """A labelmap from a file, uint8 where its values allow it, else the smallest integer type that holds them.

    Raises UserError for anything that is not one 3-D image of whole, non-negative numbers, and for a segmentation of 3D
    Slicer, whose numbers are no organs (`datasets.segment_labels.read_organ_labels` goes by its names), unless
    `segmentations` asks for its numbers as they are.
    """
    path = Path(path)
    refuse_pipe(path)
    if path.is_file() and path.name.lower().endswith(_PAIRS):
        raise pair_refused(path)
    if path.is_file() and not segmentations and is_segmentation(path):
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a label map",
                        found="a segmentation of 3D Slicer, which numbers its segments itself",
                        hint="in Slicer, export it to a label map")
    kind = format_of(path) if path.exists() else None
    if not path.is_file() and not isinstance(kind, ImageFormat):
        obstacle = "a folder" if path.is_dir() else "nothing there"
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a labelmap file", found=obstacle)
    # A name that says nothing may still be an image that ITK knows by its content.
    image_kind = kind if isinstance(kind, ImageFormat) else FORMATS.find(_ANY_IMAGE)
    if image_kind is not kind and not _is_nrrd(path):
        raise _no_labelmap(path)
    volume = _read_file(path, image_kind, reporter)
    array = volume.array
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(code=Code.UNKNOWN_LABEL, subject=path, expected="whole numbers as labels",
                        found=f"{np.count_nonzero(~np.isfinite(array))} voxels NaN or infinite")
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        raise UserError(code=Code.UNKNOWN_LABEL, subject=path, expected="whole numbers as labels", found="fractions")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > np.iinfo(np.uint32).max:
        raise UserError(code=Code.UNKNOWN_LABEL, subject=path, expected="labels from 0 on", found=f"{low} to {high}")
    return Volume(array.astype(np.min_scalar_type(high), copy=False), volume.grid)


def _is_nrrd(path: Path) -> bool:
    """By its first letters; True as well for one that cannot be opened, of which reading says why."""
    try:
        with open(path, "rb") as stream:
            return stream.read(len(_NRRD_BEGINS)) == _NRRD_BEGINS
    except OSError:
        return True


def _no_labelmap(path: Path) -> UserError:
    """The error for a file of another kind; structures in DICOM are labels, but no map of them."""
    found, hint = "another kind of file", ""
    if not path.stat().st_size:
        found = "an empty file"
    elif dicom_slices.looks_like_dicom(path):
        found = "a DICOM file"
        hint = "'learn' reads RT structure sets and DICOM SEG; 3D Slicer exports them to label maps"
    return UserError(code=Code.WRONG_FORMAT, subject=path, expected=f"a label map ({', '.join(volume_suffixes())})",
                     found=found, hint=hint)


def list_inputs(paths: Sequence[Path | str], leave_out: Callable[[Path], bool] = lambda path: False) -> list[Path]:
    """The CTs that files and folders stand for: a folder's volume files, and itself when it holds a CT's DICOM slices.

    A folder without either stands for each of its own folders that holds DICOM files. What lies in a given folder and
    `leave_out` says does not count. Raises UserError for one that holds no image, and for a path that does not exist.
    """
    inputs: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(code=Code.FILE_MISSING, subject=path, expected="a CT file or a folder",
                            found="nothing there")
        refuse_pipe(path)
        inputs += _inside(path, leave_out) if path.is_dir() else [path]
    return list(dict.fromkeys(inputs))  # a path may have been given twice


def _inside(folder: Path, leave_out: Callable[[Path], bool]) -> list[Path]:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and not leave_out(entry))
    volumes = [entry for entry in entries if is_volume_name(entry) and _may_be_image(entry)]
    files = [entry for entry in entries if entry.is_file()]
    if volumes:
        # Beside NIfTI files may lie a DICOMDIR or a report, which is no CT, and the slices of one, which are.
        slices = any(dicom_slices.holds_ct_slice(file) for file in files if file not in volumes)
        return [folder, *volumes] if slices else volumes
    if any(dicom_slices.looks_like_dicom(file) for file in files):
        return [folder]
    folders = [entry for entry in entries if entry.is_dir() and dicom_slices.holds_dicom(entry)]
    if not folders:
        raise UserError(code=Code.NO_CASES, subject=folder,
                        expected=f"CT files ({', '.join(volume_suffixes())}) or DICOM files", found="none",
                        hint=_hint_of_deeper(folder, entries))
    return folders


def _hint_of_deeper(folder: Path, entries: Sequence[Path]) -> str:
    """How to name files that lie one folder deeper: not all of them need be CTs, so they are not taken unasked."""
    for entry in filter(Path.is_dir, entries):
        with contextlib.suppress(OSError):  # a folder that may not be looked into has no say
            volume = next((file for file in sorted(entry.iterdir()) if is_volume_name(file)), None)
            if volume is not None:
                return f"files in folders of it are named like this: {folder / '*' / volume.name}"
    return ""


def _may_be_image(path: Path) -> bool:
    """Whether a file is an image by its content; one that cannot be opened is taken for one, and fails alone."""
    try:
        return isinstance(format_of(path), ImageFormat)
    except OSError:
        return True


def _read_file(path: Path, kind: Format, reporter: Reporter) -> Volume:
    """One scalar 3-D volume from a file, its values as stored, its axes at right angles."""
    assert isinstance(kind, ImageFormat)
    try:
        volume = kind.read(path, reporter)
    except (OSError, MemoryError, ValueError, OverflowError) as error:  # ValueError: sizes no array can have
        found = "a damaged one"
        if isinstance(error, OSError) and error.strerror:
            found = error.strerror
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="a readable image", found=found) from error
    return Volume(volume.array, check_grid(path, volume.grid, reporter))
