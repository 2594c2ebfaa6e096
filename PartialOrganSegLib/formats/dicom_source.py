"""The DICOM series behind a segmentation: what DICOM objects made of it refer to, and labels on its own slices."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..imaging.shapes import VoxelArray
from ..imaging.volume import Grid, Volume
from .dicom import distinct_slices, grid_of_slices
from .dicom_choice import choose_series
from .dicom_grid import place_slices
from .dicom_headers import put, tidy_headers, uid_of
from .dicom_reading import read_header
from .dicom_slices import Slice, holds_dicom, looks_like_dicom

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MANUFACTURER = "PartialOrganSeg"  # of what we write
_SAME_PLACE = 0.1  # of a voxel
_THICKEST_MM = 1000.0
_STAYS = 1e-3  # voxels: an axis that moves less across a whole slice stays at one voxel
# What every object must have, with a value or at least empty (PS3.3 C.7.1.1, C.7.2.1, C.7.3.1, C.7.4.1).
_UIDS = {"StudyInstanceUID": "Study Instance UID", "SeriesInstanceUID": "Series Instance UID",
         "FrameOfReferenceUID": "Frame of Reference UID"}
_SOP_UIDS = {"SOPClassUID": "MediaStorageSOPClassUID", "SOPInstanceUID": "MediaStorageSOPInstanceUID"}
_MAY_BE_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                 "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator")


@dataclass(frozen=True)
class Maker:
    """Who made a segmentation: `kind` is DICOM's AUTOMATIC, SEMIAUTOMATIC (corrected by hand) or MANUAL."""

    name: str
    version: str
    kind: str = "AUTOMATIC"


@dataclass(frozen=True)
class DicomSource:
    """A CT series. `slices` from the lowest to the highest along their normal; `headers` of their files, no pixels.

    `headers` has one data set a slice, the same one for all frames of a multi-frame file. `grid` is the one that
    `read_ct` puts the series on.
    """
    path: Path
    slices: tuple[Slice, ...]
    headers: tuple[Dataset, ...]
    grid: Grid

    def on_slices(self, labels: Volume, resample: bool = False) -> VoxelArray:
        """Labels (slices, rows, columns) on the series' own slices, from the nearest voxel of `labels`.

        On a regular series these are the same voxels. Where reading moved slices upright (gantry tilt) or filled gaps,
        a slice takes back what lies at its pixels' places: moving upright keeps planes and pixel sizes, so that is at
        most half a pixel off, and half a slice distance for uneven series. What is written then lies in the planes of
        the images that it refers to, as viewers expect. Raises UserError for labels on another grid than the series',
        unless `resample`.
        """
        grid_of_labels = labels.canonical().grid
        grid_of_series = self.grid.axis_order().canonical_grid(self.grid)
        tolerance_mm = _SAME_PLACE * min(self.grid.spacing)
        if not resample and not grid_of_labels.same_as(grid_of_series, tolerance_mm):
            raise UserError(code=Code.GEOMETRY_DIFFERS, subject=self.path,
                            expected=f"labels on the grid of the series ({_words(grid_of_series)})",
                            found=_words(grid_of_labels), hint="--resample takes the nearest voxels")
        to_voxel = np.linalg.inv(labels.grid.matrix)
        columns, rows, _ = self.slices[0].size
        placed = np.zeros((len(self.slices), rows, columns), labels.array.dtype)
        for ct_slice, plane in zip(self.slices, placed, strict=True):
            start = to_voxel[:3, :3] @ ct_slice.position + to_voxel[:3, 3]
            right, down = (to_voxel[:3, :3] @ (axis * mm)
                           for axis, mm in zip(ct_slice.axes, ct_slice.spacing, strict=True))
            x, y, z = (_nearest_voxels(start[axis], right[axis], down[axis], rows, columns) for axis in range(3))
            plane[...] = _labels_at(labels.array, z, y, x)
        return placed


def _nearest_voxels(start: float, right: float, down: float, rows: int, columns: int) -> npt.NDArray[np.int64]:
    """Nearest voxel numbers of a slice's pixels along an axis, (rows, columns), or of size 1 where they stay alike.

    `right` and `down`: voxels along that axis from one pixel to the next.
    """
    numbers: npt.NDArray[np.float64] = np.array([[start]])
    for steps in (right * np.arange(columns)[None, :], down * np.arange(rows)[:, None]):
        if np.abs(steps).max() > _STAYS:
            numbers = numbers + steps
    return np.rint(numbers).astype(np.int64)


def _labels_at(array: VoxelArray, *numbers: npt.NDArray[np.int64]) -> VoxelArray:
    """Labels of the voxels with these numbers (z, y, x), 0 outside."""
    inside = np.array(True)
    for number, size in zip(numbers, array.shape, strict=True):
        inside = inside & (number >= 0) & (number < size)
    clipped = tuple(np.clip(number, 0, size - 1) for number, size in zip(numbers, array.shape, strict=True))
    return np.where(inside, array[clipped], 0)


def _words(grid: Grid) -> str:
    size = " x ".join(str(count) for count in grid.size)
    spacing = " x ".join(f"{mm:.6g}" for mm in grid.spacing)
    origin = ", ".join(f"{mm:.1f}" for mm in grid.origin)
    return f"{size} voxels of {spacing} mm from {origin} mm"


def read_source(path: Path | str, choice: str | None, reporter: Reporter, geometry_reported: bool = False,
                ) -> DicomSource:
    """The series that `read_ct` reads from there, without its pixels.

    What is wrong with its geometry is reported as by `read_ct`, unless that was done already (`geometry_reported`).
    Identifiers that the series lacks are made up, always the same ones for a series, and that is reported. Raises
    UserError for what is no DICOM series of a CT.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(code=Code.FILE_MISSING, subject=path, expected="the DICOM series of the CT",
                        found="nothing there")
    if not (holds_dicom(path) if path.is_dir() else looks_like_dicom(path)):
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="the DICOM series of the CT",
                        found="no DICOM file: DICOM SEG and RT structure sets name the patient, the study and each "
                              "image, which other formats do not keep")
    of_geometry = Reporter() if geometry_reported else reporter
    slices = distinct_slices(path, choose_series(path, choice, of_geometry), of_geometry)
    headers = {ct_slice.file: read_header(ct_slice.file) for ct_slice in slices}
    _add_missing_identifiers(path, list(headers.values()), reporter)
    _refuse_shared_uids(path, headers)
    tidy_headers(path, list(headers.values()), reporter)
    unit_grid = grid_of_slices(path, slices, of_geometry)
    # The grid that reading arrives at does not depend on what the voxels hold; one zero is all of them.
    no_voxels = np.broadcast_to(np.int16(0), unit_grid.shape)
    positions = [ct_slice.position for ct_slice in slices]
    grid = place_slices(path, no_voxels, positions, unit_grid, of_geometry).grid
    heights = np.array([position @ slices[0].normal for position in positions])
    is_even = np.abs(np.diff(heights) - grid.spacing[2]).max(initial=0) < _SAME_PLACE * grid.spacing[2]
    for ct_slice in slices:
        if ct_slice.frame is None:  # files of a series may round their orientation differently
            header = headers[ct_slice.file]
            put(header, "ImageOrientationPatient", slices[0].axes.ravel().tolist())
            put(header, "ImagePositionPatient", [f"{mm:.10g}" for mm in ct_slice.position])
            put(header, "PixelSpacing", [f"{mm:.10g}" for mm in ct_slice.spacing[::-1]])
            put(header, "SliceThickness", _thickness(header) or grid.spacing[2])
            # Scanners write 0, a negative number or another distance; a segmentation of frames is placed by it.
            header.pop("SpacingBetweenSlices", None)
            if is_even:
                header.SpacingBetweenSlices = f"{grid.spacing[2]:.10g}"
    return DicomSource(path, tuple(slices), tuple(headers[ct_slice.file] for ct_slice in slices), grid)


def _thickness(header: Dataset) -> float | None:
    """Slice Thickness in mm; None where it is missing or no number."""
    try:
        thickness = float(header.get("SliceThickness"))
    except Exception:  # whatever pydicom's converters raise for bytes that are no number
        return None
    return thickness if 0 < thickness < _THICKEST_MM else None


def _refuse_shared_uids(path: Path, headers: Mapping[Path, Dataset]) -> None:
    """Raises UserError for two files with one SOP Instance UID: contours and frames would refer to the wrong image."""
    files: dict[str, Path] = {}
    for file, header in headers.items():
        uid = str(header.get("SOPInstanceUID", ""))
        if uid and files.setdefault(uid, file) != file:
            raise UserError(code=Code.SERIES_UNCLEAR, subject=path,
                            expected="a SOP Instance UID of its own for each slice",
                            found=f"{uid} in {files[uid].name} and {file.name}",
                            hint="what refers to one of them would refer to both: export the series again")


def _add_missing_identifiers(path: Path, headers: Sequence[Dataset], reporter: Reporter) -> None:
    """Adds to the headers what anonymising took away but every object must have."""
    for header in headers:
        meta = getattr(header, "file_meta", header)
        # Some anonymisers keep them in the file's meta information only.
        for name, in_meta in _SOP_UIDS.items():
            put(header, name, uid_of(header, name) or uid_of(meta, in_meta))
        if not header.SOPInstanceUID or not header.SOPClassUID:
            raise UserError(code=Code.DICOM_TAG_MISSING, subject=header.filename,
                            expected="a SOP Instance UID and a SOP Class UID",
                            found="none: nothing can refer to this image")
        for name in _MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, None)
    lacking = [name for name in _UIDS if not all(uid_of(header, name) for header in headers)]
    first = min(str(header.SOPInstanceUID) for header in headers)
    for name in lacking:
        # A UID derived from a UUID (PS3.5 B.2): the same for every object made of this series.
        derived = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{first} {name}').int}"
        for header in headers:
            put(header, name, derived)
    for header in headers:  # in their own representation, whatever the file has
        for name in _UIDS:
            put(header, name, uid_of(header, name))
    if lacking:
        reporter.warning(Problem(
            Code.DICOM_TAG_MISSING, str(path),
            found=f"the series has no {' and no '.join(_UIDS[name] for name in lacking)}",
            hint="the DICOM files written bear made ones, and a viewer may not place them with this CT by itself"))
