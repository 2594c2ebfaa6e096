"""Which DICOM series a folder holds: its slices sorted into series and scans, of which `dicom_choice` chooses one.

Slices of two patients, studies or scans must never end up in one volume. Series Instance UIDs should rule that out, but
anonymising may have removed them or replaced all by one, so everything else that tells scans apart is looked at too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..errors import Code, Problem, UserError
from ..events import Reporter
from .dicom_slices import (
    ACQUISITION_NUMBER,
    FRAME_OF_REFERENCE_UID,
    INSTANCE_NUMBER,
    MODALITY,
    SERIES_DESCRIPTION,
    SERIES_NUMBER,
    SERIES_UID,
    SOP_INSTANCE_UID,
    STUDY_UID,
    TELLING,
    Slice,
    dicom_files,
    read_slices,
)
from .folder_files import files_below

K = TypeVar("K", bound=Hashable)
_SAME_BODY_PART = 0.5  # of the shorter acquisition; successive ones of a single scan overlap less
_SAME_SPACING, _SAME_COSINE = 1e-3, 1e-3  # relative, and of each component: rounding of headers
# These never change from slice to slice within one scan: slices between each other's that differ in them are of
# several, whether they share their places or not.
_NEVER_WITHIN_A_SCAN = ("acquisition", "temporal position", "cardiac phase", "kV")
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_PLANE = 0.9  # cosine between a slice's normal and a patient axis; below it the slice is called oblique


@dataclass(frozen=True)
class Series:
    """Slices that belong together: of one patient, study and series, and alike in size, spacing and orientation.

    `part` tells several scans under one UID apart: "acquisition 2", "folder b".
    """

    slices: tuple[Slice, ...]
    part: str = ""

    def tag(self, name: str) -> str:
        """A tag of the first slice, e.g. `dicom_slices.MODALITY`, or an empty string."""
        return self.slices[0].tag(name)

    @property
    def uid(self) -> str:
        """Series Instance UID; empty in some anonymised files."""
        return self.tag(SERIES_UID)

    @property
    def description(self) -> str:
        """Series description, with the acquisition or folder where that tells two series apart."""
        return " ".join(filter(None, (self.tag(SERIES_DESCRIPTION), self.part)))

    @property
    def is_volume(self) -> bool:
        """Whether a CT volume can be made of it."""
        several = len(self.slices) > 1 or self.slices[0].size[2] > 1
        return several and self.slices[0].is_ct_image and not self.slices[0].is_localizer

    def line(self) -> str:
        """What the series is, in a few words: description, modality, slices, spacing."""
        first = self.slices[0]
        kind = self.tag(MODALITY) or "unknown modality"
        if first.is_localizer:
            kind = "localizer"
        count = max(len(self.slices), first.size[2])
        noun = "slice" if count == 1 else "slices"
        spacing = f"{first.spacing[0]:.3g} x {first.spacing[1]:.3g}"
        distances = np.diff(np.sort(_heights(self.slices)))
        if len(distances):
            spacing += f" x {np.median(distances):g}"
        return f"'{self.description}', {kind}, {count} {noun}, {spacing} mm{_plane(first)}"


def _plane(ct_slice: Slice) -> str:
    """The plane that a slice shows; nothing for an axial one, which is the usual case."""
    toward_left, toward_back, toward_head = np.abs(ct_slice.normal)
    if toward_head > _PLANE:
        return ""
    if toward_left > _PLANE:
        return ", sagittal"
    if toward_back > _PLANE:
        return ", coronal"
    return ", oblique"


def _heights(slices: Iterable[Slice]) -> list[float]:
    """Where slices of one orientation lie along their normal, in mm."""
    return [float(ct_slice.position @ ct_slice.normal) for ct_slice in slices]


def list_series(path: Path, reporter: Reporter | None = None) -> list[Series]:
    """The series of a folder and all folders below it, or the one of a file. Raises UserError when there is none."""
    reporter = reporter or Reporter()
    files = [path]
    if path.is_dir():
        try:
            files = _dicom_files(path, reporter)
        except OSError as error:  # slices in that folder would be missing
            raise UserError(code=Code.NOT_READABLE, subject=error.filename, expected="a folder that can be listed",
                            found=error.strerror or error) from error
    groups: dict[tuple[Hashable, ...], list[Slice]] = {}
    for number, file in enumerate(files, 1):
        for ct_slice in read_slices(file):
            groups.setdefault(_group(ct_slice), []).append(ct_slice)
        reporter.progress("reading DICOM headers", number, len(files))
    if not groups:
        if path.is_file():
            raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a CT (NIfTI, NRRD, MetaImage or DICOM)",
                            found="another kind of file")
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="DICOM images or CT files in the folder",
                        found="none")
    series = []
    for group in sorted(groups, key=lambda group: (_series_number(groups[group][0]), str(group))):
        for alike in _of_one_grid(groups[group]):
            series += _scans(alike)
    return series


def _dicom_files(folder: Path, reporter: Reporter) -> list[Path]:
    """The DICOM files of a folder. Files of that name that are empty or hold something else are reported: at an end of
    the series nobody would miss their slices. Raises OSError for a folder that cannot be listed."""
    files = list(dicom_files(folder))
    are_dicom = set(files)
    so_called = [file for file in files_below(folder) if file.suffix.lower() in _DICOM_SUFFIXES]
    strangers = [file for file in so_called if file not in are_dicom]
    if strangers:
        further = f", as {len(strangers) - 1} more" if len(strangers) > 1 else ""
        found = "an empty file" if not strangers[0].stat().st_size else "something else"
        reporter.warning(Problem(Code.FILE_DAMAGED, str(strangers[0]), "a DICOM file", f"{found}{further}",
                                 "left out: slices may be missing"))
    return files


def _group(ct_slice: Slice) -> tuple[Hashable, ...]:
    """What slices of one series have in common."""
    identity = [ct_slice.tag(name) for name in (SERIES_UID, MODALITY, SERIES_DESCRIPTION, STUDY_UID,
                                                FRAME_OF_REFERENCE_UID)]
    return (*identity, ct_slice.patient, _series_number(ct_slice), ct_slice.is_localizer, ct_slice.is_ct_image,
            ct_slice.bad_attribute is not None, ct_slice.size)


def _of_one_grid(slices: list[Slice]) -> list[list[Slice]]:
    """Slices sorted by spacing and orientation, in the order in which these first occur.

    Headers of one series may round differently, so closeness decides: rounding here too would cut between numbers that
    are nearly equal.
    """
    if slices[0].bad_attribute is not None:  # then these are no numbers to compare
        return [slices]
    grids: list[list[Slice]] = []
    for ct_slice in slices:
        for alike in grids:
            same_spacing = np.allclose(ct_slice.spacing, alike[0].spacing, rtol=_SAME_SPACING, atol=0)
            if same_spacing and np.abs(ct_slice.axes - alike[0].axes).max() <= _SAME_COSINE:
                alike.append(ct_slice)
                break
        else:
            grids.append([ct_slice])
    return grids


def _series_number(ct_slice: Slice) -> int:
    number = ct_slice.tag(SERIES_NUMBER)
    return int(number) if number.lstrip("-").isdigit() else 0


def _scans(slices: list[Slice]) -> list[Series]:
    """Splits a group into scans: phases of one study under one UID, or folders where slices bear no UID at all."""
    series = _volumes(slices)
    scans: list[Series] = []
    for candidate in series:
        folders = _split(candidate.slices, lambda ct_slice: ct_slice.file.parent)
        # Archives spread one scan over folders, so folders count only where its slices cannot be one scan's.
        if candidate.uid or len(folders) < 2 or not mixes_scans(candidate):
            scans.append(candidate)
            continue
        for folder, part in folders.items():
            scans.append(Series(tuple(part), f"{candidate.part} folder {folder.name}".lstrip()))
    return scans


def _volumes(slices: list[Slice]) -> list[Series]:
    """The volumes of one series: the parts by the first attribute whose values each are of one volume.

    Acquisitions, phases and voltages may also lie between each other's slices; by any other attribute a series is cut
    only where several images share their places, because in one scan these may change from slice to slice.
    """
    share_places = len(_places(slices)) < len(slices)
    for name, tag in TELLING.items():
        parts = _split(slices, _value_of(tag))
        if len(parts) < 2 or not _are_scans(slices, parts):
            continue
        several = min(map(len, parts.values())) > 1
        if name == "acquisition" or (several and (share_places or name in _NEVER_WITHIN_A_SCAN)):
            return [Series(tuple(part), f"{name} {value}".rstrip()) for value, part in parts.items()]
    return [Series(tuple(slices))]


def _value_of(tag: str) -> Callable[[Slice], str]:
    return lambda ct_slice: ct_slice.tag(tag)


def _split(slices: Iterable[Slice], key: Callable[[Slice], K]) -> dict[K, list[Slice]]:
    parts: dict[K, list[Slice]] = {}
    for ct_slice in slices:
        parts.setdefault(key(ct_slice), []).append(ct_slice)
    return parts


def _are_scans(slices: list[Slice], acquisitions: Mapping[str, list[Slice]]) -> bool:
    """Whether acquisitions show the same part of the body, as phases do, rather than follow each other along it."""
    if any(len(_places(part)) < len(part) for part in acquisitions.values()):
        return False
    if len(_places(slices)) < len(slices):
        return True
    # Phases whose slices lie between each other's would make one regular volume of two.
    extents = sorted((min(heights), max(heights)) for heights in map(_heights, acquisitions.values()))
    for (low, high), (next_low, next_high) in itertools.pairwise(extents):
        shorter = min(high - low, next_high - next_low)
        if min(high, next_high) - next_low > _SAME_BODY_PART * shorter > 0:
            return True
    return False


def _places(slices: Iterable[Slice]) -> set[tuple[float, ...]]:
    return {tuple(np.round(ct_slice.position, 2).tolist()) for ct_slice in slices}


def mixes_scans(series: Series) -> bool:
    """Whether images without a Series Instance UID have the same number or place, as those of two scans would.

    Copies of one image, which share their SOP Instance UID, do not count.
    """
    if series.uid:
        return False
    images: dict[tuple[str, Hashable], tuple[str, Path | None]] = {}
    for ct_slice in series.slices:
        sop_uid = ct_slice.tag(SOP_INSTANCE_UID)
        image = (sop_uid, None if sop_uid else ct_slice.file)
        features: list[tuple[str, Hashable]] = [("place", place) for place in _places([ct_slice])]
        if ct_slice.frame is None and ct_slice.tag(INSTANCE_NUMBER):
            features.append(("number", (ct_slice.tag(ACQUISITION_NUMBER), ct_slice.tag(INSTANCE_NUMBER))))
        if any(images.setdefault(feature, image) != image for feature in features):
            return True
    return False
