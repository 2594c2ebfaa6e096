"""Which DICOM series a folder holds: the headers of its files, sorted into series, and the one that is wanted.

GDCM (inside SimpleITK) reads the tags; frames of enhanced multi-frame files are slices like others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import Code, Problem, UserError
from ..events import Reporter
from .dicom_frames import frames_of
from .itk import quiet_itk
from .itk_names import itk_input

# Image type, SOP instance UID, modality, description, series UID and number, acquisition, instance number.
_TAGS = {"0008|0008", "0008|0018", "0008|0060", "0008|103e", "0020|000e", "0020|0011", "0020|0012", "0020|0013"}
# The modality as it stands in the file, with explicit and implicit value representation.
_SAYS_CT = re.compile(rb"\x08\x00\x60\x00(CS\x02\x00|\x02\x00\x00\x00)CT")
_NO_IMAGE_SUFFIXES = (".json", ".xml", ".txt", ".csv", ".md", ".html", ".zip", ".gz", ".pdf", ".png", ".jpg", ".py")


@dataclass(frozen=True)
class Slice:
    """A DICOM file's header, or a frame's: `position` LPS mm, `spacing` (x, y) mm, `axes` (2, 3) of rows and columns.

    `frame` counts from 0 in a multi-frame file and is None in others; `rescale` is `dicom_frames.Frame`'s.
    """

    file: Path
    size: tuple[int, int, int]
    spacing: tuple[float, float]
    position: np.ndarray
    axes: np.ndarray
    tags: dict[str, str] = field(repr=False)
    frame: int | None = None
    rescale: tuple[float, float] = (1.0, 0.0)


@dataclass(frozen=True)
class Series:
    """Slices that belong together: the same Series Instance UID, size, spacing and orientation."""

    slices: tuple[Slice, ...]
    acquisition: str = ""

    def tag(self, name: str) -> str:
        """A tag of the first slice, e.g. "0008|103e", or an empty string."""
        return self.slices[0].tags.get(name, "")

    @property
    def uid(self) -> str:
        """Series Instance UID; empty in some anonymised files."""
        return self.tag("0020|000e")

    @property
    def description(self) -> str:
        """Series description, with the acquisition where that tells two series apart."""
        return " ".join(filter(None, (self.tag("0008|103e"), self.acquisition and f"acquisition {self.acquisition}")))

    @property
    def is_localizer(self) -> bool:
        """Whether these are scout pictures."""
        return "LOCALIZER" in self.tag("0008|0008").upper()

    @property
    def is_volume(self) -> bool:
        """Whether a CT volume can be made of it."""
        slices = len(self.slices) if len(self.slices) > 1 else self.slices[0].size[2]
        return self.tag("0008|0060") == "CT" and slices > 1 and not self.is_localizer

    def line(self) -> str:
        """What the series is, in a few words: description, modality, slices, spacing."""
        first = self.slices[0]
        count = max(len(self.slices), first.size[2])
        distances = np.diff(np.sort([s.position @ _normal(first.axes) for s in self.slices]))
        thick = f" x {np.median(distances):g}" if len(distances) else ""
        kind = "localizer" if self.is_localizer else self.tag("0008|0060") or "unknown modality"
        normal = np.abs(_normal(first.axes))
        plane = "" if normal[2] > 0.9 else ", sagittal" if normal[0] > 0.9 else ", coronal" if normal[1] > 0.9 else (
            ", oblique")
        return (f"'{self.description}', {kind}, {count} slice{'s' * (count != 1)}, "
                f"{first.spacing[0]:.3g} x {first.spacing[1]:.3g}{thick} mm{plane}")


def looks_like_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do, with or without the 128-byte preamble."""
    try:
        with open(path, "rb") as stream:
            start = stream.read(132)
    except OSError:
        return False
    if start[128:] == b"DICM":
        return True
    # Files of old archives begin with the first element of group 2 or 8, in either byte order.
    return path.suffix.lower() not in _NO_IMAGE_SUFFIXES and start[:4] in (
        b"\x08\x00\x00\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00", b"\x02\x00\x00\x00", b"\x02\x00\x01\x00")


def holds_dicom(folder: Path) -> bool:
    """Whether a folder or one below it holds a DICOM file."""
    return next(_dicom_files(folder), None) is not None


def choose_series(path: Path, wanted: str | None, reporter: Reporter) -> Series:
    """The series to read from there; what is left out is told unless `wanted` chose.

    Raises UserError when there is no series, or several and `wanted` (number in the list, UID or description) does not
    choose among them.
    """
    every = list_series(path, reporter)
    series = _choose(path, every, wanted)
    left_out = [other for other in every if other is not series]
    if left_out and wanted is None:
        reporter.warning(Problem(Code.SERIES_UNCLEAR, str(path), found=f"reading series {series.line()}",
                                 hint=f"left out: {'; '.join(s.line() for s in left_out)}"))
    return series


def list_series(path: Path, reporter: Reporter | None = None) -> list[Series]:
    """The series of a folder and all folders below it, or the one of a file. Raises UserError when there is none."""
    files = [path] if path.is_file() else list(_dicom_files(path))
    groups: dict[tuple, list[Slice]] = {}
    for done, file in enumerate(files, 1):
        for found in _read_header(file):
            groups.setdefault(_key(found), []).append(found)
        if reporter:
            reporter.progress("reading DICOM headers", done, len(files))
    if not groups:
        if path.is_file():
            raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a CT (NIfTI, NRRD, MetaImage or DICOM)",
                            found="another kind of file")
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="DICOM images or CT files in the folder",
                        found="none")
    keys = sorted(groups, key=lambda key: (key[0], str(key)))
    return [part for key in keys for part in _phases(groups[key])]


def _dicom_files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        hidden = file.name.startswith(".") or file.name.upper() == "DICOMDIR"
        if not hidden and file.is_file() and looks_like_dicom(file):
            yield file


def _read_header(file: Path) -> list[Slice]:
    """A file's geometry and tags, frame by frame; none for DICOM objects without pixels or a place in space."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    try:
        with itk_input(file) as name, quiet_itk():
            reader.SetFileName(name)
            reader.ReadImageInformation()
    except RuntimeError as error:
        with open(file, "rb") as stream:
            if _SAYS_CT.search(stream.read(4096)):
                raise UserError(code=Code.FILE_DAMAGED, subject=file, expected="a whole CT slice",
                                found="a damaged or truncated file",
                                hint="replace it, or remove it to go on without that slice") from error
        return []
    tags = {key: reader.GetMetaData(key).strip(" \0") for key in reader.GetMetaDataKeys() if key in _TAGS}
    size = (*reader.GetSize(), 1)[:3]
    if reader.GetNumberOfComponents() != 1 or min(size) < 1:
        return []
    frames = frames_of(file) if size[2] > 1 and tags.get("0008|0060") == "CT" else None
    if frames is None:
        direction = np.asarray(reader.GetDirection()).reshape(reader.GetDimension(), -1)[:, :2].T
        return [Slice(file, tuple(size), tuple(reader.GetSpacing()[:2]), np.asarray(reader.GetOrigin(), float),
                      np.asarray(direction, float), tags)]
    return [Slice(file, (*size[:2], 1), frame.spacing, frame.position, frame.axes,
                  {**tags, "0008|0008": frame.image_type or tags.get("0008|0008", ""), "0020|0012": frame.acquisition,
                   "0020|0013": str(number)}, number, frame.rescale) for number, frame in enumerate(frames)]


def _key(one: Slice) -> tuple:
    number = one.tags.get("0020|0011", "")
    kind = "LOCALIZER" in one.tags.get("0008|0008", "").upper()
    return (int(number) if number.lstrip("-").isdigit() else 0, one.tags.get("0020|000e", ""),
            one.tags.get("0008|0060", ""), one.tags.get("0008|103e", ""), kind, one.size,
            tuple(round(s, 4) for s in one.spacing), tuple(np.round(one.axes.ravel(), 3) + 0.0))


def _normal(axes: np.ndarray) -> np.ndarray:
    return np.cross(axes[0], axes[1])


def _phases(slices: list[Slice]) -> list[Series]:
    """Splits a series by acquisition number where that explains several slices at one place (phases of one study)."""
    places = {tuple(np.round(one.position, 2)) for one in slices}
    acquisitions: dict[str, list[Slice]] = {}
    for one in slices:
        acquisitions.setdefault(one.tags.get("0020|0012", ""), []).append(one)
    whole = all(len({tuple(np.round(one.position, 2)) for one in part}) == len(part) for part in acquisitions.values())
    if len(places) < len(slices) and len(acquisitions) > 1 and whole:
        return [Series(tuple(part), number) for number, part in acquisitions.items()]
    return [Series(tuple(slices))]


def _choose(path: Path, every: list[Series], wanted: str | None) -> Series:
    listed = "; ".join(f"{number}: {series.line()}" for number, series in enumerate(every, 1))
    if wanted is None:
        volumes = [series for series in every if series.is_volume] or every
        if len(volumes) == 1:
            return volumes[0]
        mixed = len({series.uid for series in volumes}) == 1 and not any(series.acquisition for series in volumes)
        found = f"{len(volumes)}" + " under one UID, of different size, spacing or orientation" * mixed
        raise UserError(code=Code.SERIES_UNCLEAR, subject=path, expected="one CT series", found=found,
                        hint=f"choose with --series: {listed}")
    key = wanted.strip()
    if key.isdigit() and 1 <= int(key) <= len(every):
        return every[int(key) - 1]
    same_uid = [series for series in every if series.uid == key]
    same_name = [series for series in every if series.description.lower() == key.lower()]
    for matches in (same_uid, same_name):
        if len(matches) == 1:
            return matches[0]
    found = "several of that description" if same_name else "none of that number, UID or description"
    raise UserError(code=Code.SERIES_UNCLEAR, subject=path, expected="--series to name one series",
                    found=f"{found} ('{wanted}'): {listed}")
