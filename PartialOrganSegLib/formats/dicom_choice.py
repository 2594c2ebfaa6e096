"""Which of a folder's DICOM series is the CT: the only volume, or the one that the user names."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path

from ..errors import Code, Problem, UserError
from ..events import Reporter
from .dicom_series import Series, list_series
from .dicom_slices import FRAME_OF_REFERENCE_UID, STUDY_UID, Slice

# What slices under one Series Instance UID must have in common, by DICOM's own words.
_IDENTITY: dict[str, Callable[[Slice], Hashable]] = {
    "patient": lambda ct_slice: ct_slice.patient, "study": lambda ct_slice: ct_slice.tag(STUDY_UID),
    "frame of reference": lambda ct_slice: ct_slice.tag(FRAME_OF_REFERENCE_UID)}
# Manifests name a folder alone, as `learn` writes them.
_HOW = "choose with --series, or for learn and manifests put each series into a folder of its own"


def choose_series(path: Path, choice: str | None, reporter: Reporter) -> Series:
    """The series to read from a folder or file; those left out are reported unless `choice` named one.

    Raises UserError when there is no series, or several and `choice` (number in the list, UID or description) does not
    choose among them.
    """
    return _chosen(path, list_series(path, reporter), choice, reporter)


def separate_series(path: Path, reporter: Reporter) -> dict[int, Series]:
    """All CT volumes of a folder, by their number as a `choice`, where each has files of its own and can be told from
    the others by its UID, or by what parts the scans under it. Raises UserError as `choose_series` does where they
    cannot be told apart."""
    listed = list_series(path, reporter)
    volumes = {number: series for number, series in enumerate(listed, 1) if series.is_volume}
    names = {(series.uid, series.part) for series in volumes.values() if series.uid}
    files = [file for series in volumes.values() for file in {ct_slice.file for ct_slice in series.slices}]
    if len(volumes) < 2 or len(names) < len(volumes) or len(set(files)) < len(files):
        series = _chosen(path, listed, None, reporter)
        return {listed.index(series) + 1: series}
    for series in volumes.values():
        _refuse_strangers(path, series, listed)
    return volumes


def _chosen(path: Path, listed: list[Series], choice: str | None, reporter: Reporter) -> Series:
    series = _choose(path, listed, choice)
    _check_attributes(series, listed)
    # Somebody who chose knows of the others.
    left_out = [candidate for candidate in listed if candidate is not series]
    if left_out and choice is None:
        reporter.warning(Problem(Code.SERIES_UNCLEAR, str(path), found=f"reading series {series.line()}",
                                 hint=f"left out: {'; '.join(candidate.line() for candidate in left_out)}"))
    return series


def _check_attributes(series: Series, listed: list[Series]) -> None:
    """Raises UserError for a slice of the series whose place, size or HU would be made up, wherever it was sorted to
    because of that."""
    slices = list(series.slices)
    for candidate in listed:
        if candidate is not series and candidate.uid and candidate.uid == series.uid:
            slices += [ct_slice for ct_slice in candidate.slices if ct_slice.bad_attribute is not None
                       and ct_slice.is_ct_image and not ct_slice.is_localizer]
    for ct_slice in slices:
        bad = ct_slice.bad_attribute
        if bad is not None:
            raise UserError(code=Code.DICOM_TAG_MISSING, subject=ct_slice.file, expected=bad.expected, found=bad.found)


def _choose(path: Path, listed: list[Series], choice: str | None) -> Series:
    if choice is None:
        return _only_volume(path, listed)
    # A plain number is a place in the list, never a UID: those have dots.
    key = choice.strip()
    if key.isdigit() and 1 <= int(key) <= len(listed):
        return listed[int(key) - 1]
    same_uid = [series for series in listed if series.uid == key]
    same_name = [series for series in listed if series.description.lower() == key.lower()]
    for matches in (same_uid, same_name):
        if len(matches) == 1:
            return matches[0]
    reason = "none of that number, UID or description"
    if same_uid:
        reason = "several of that UID"
    elif same_name:
        reason = "several of that description"
    raise UserError(code=Code.SERIES_UNCLEAR, subject=path, expected="--series to name one series",
                    found=f"{reason} ('{choice}'): {_table(path, listed)}")


def _only_volume(path: Path, listed: list[Series]) -> Series:
    """The one series that is a CT volume. Raises UserError for several."""
    volumes = [series for series in listed if series.is_volume] or listed
    if len(volumes) == 1:
        _refuse_strangers(path, volumes[0], listed)
        return volumes[0]
    candidates = str(len(volumes))
    patients = _patients(volumes)
    if patients > 1:
        candidates += f" of {patients} patients"
    elif len({series.uid for series in volumes}) == 1 and not any(series.part for series in volumes):
        candidates += " under one UID, of different study, size, spacing or orientation"
    raise UserError(code=Code.SERIES_UNCLEAR, subject=path, expected="one CT series", found=candidates,
                    hint=f"{_HOW}: {_table(path, listed)}")


def _refuse_strangers(path: Path, series: Series, listed: list[Series]) -> None:
    """Raises UserError for a CT slice under the series' UID that names another patient, study or frame of reference:
    left out, it would be a gap that is filled, in a CT of which nobody knows whose it is."""
    for candidate in listed:
        first = candidate.slices[0]
        if not series.uid or candidate.uid != series.uid or not first.is_ct_image or first.is_localizer:
            continue
        differing = [name for name, value_of in _IDENTITY.items() if value_of(first) != value_of(series.slices[0])]
        if differing:
            raise UserError(code=Code.SERIES_UNCLEAR, subject=path,
                            expected=f"slices of one {differing[0]} under one Series Instance UID",
                            found=f"another one in {first.file.name}",
                            hint=f"{_HOW}: {_table(path, listed)}")


def _patients(listed: list[Series]) -> int:
    return len({series.slices[0].patient for series in listed})


def _table(path: Path, listed: list[Series]) -> str:
    """Every series with its number. Where patients differ, a file tells whose it is; their names stay private."""
    lines = []
    several_patients = _patients(listed) > 1
    for number, series in enumerate(listed, 1):
        line = f"{number}: {series.line()}"
        if several_patients:
            line += f", first file {series.slices[0].file.relative_to(path)}"
        lines.append(line)
    return "; ".join(lines)
