"""Cases of one image or one patient become one group, whatever they are called: no patient is on both sides of a split.

Two data sets may annotate the same CT, through links or as copies; a DICOM folder says whose it is and of which study.
Images are compared by the file that a path leads to and by content; phases of one patient that only a `group` in the
manifest could tell of stay apart.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.detached import files_of_image
from .case import Case

if TYPE_CHECKING:
    from ..formats.dicom_slices import Slice

# A file's content is compared by samples first: images of one shape are of one size, and whole CTs take long to read.
_SAMPLES, _SAMPLE_BYTES = 16, 1 << 16
# What anonymised files have for an ID says nothing of the patient.
_NO_ID = re.compile(r"(anon.*|unknown|none|n/?a|test|x*|[0\s.-]*)", re.IGNORECASE)
_LISTED = 5  # cases that the warning names


def with_patients_together(cases: Sequence[Case], explicit: Collection[str], reporter: Reporter) -> tuple[Case, ...]:
    """The cases with one `group` for those of one image, study or patient: the first one's in the manifest.

    `explicit`: names of cases whose group the manifest states. Two such cases stay as they are: fine-tuning, for one,
    validates on a slab of an image and trains on the others. `check` warns of one image under two groups. What was
    joined is reported in one warning.
    """
    parents = {case.group: case.group for case in cases}

    def root(group: str) -> str:
        while parents[group] != group:
            group = parents[group]
        return group

    joined = []
    for first, case, reason in _matches(cases):
        if first.name in explicit and case.name in explicit:
            continue
        if root(first.group) != root(case.group):
            parents[root(case.group)] = root(first.group)
            joined.append(f"{case.name} and {first.name} (one {reason})")
    if joined:
        listed = ", ".join(joined[:_LISTED])
        if len(joined) > _LISTED:
            listed += f" and {len(joined) - _LISTED} more"
        reporter.warning(Problem(Code.CASES_JOINED, "cases", found="of one image or patient, so they are trained or "
                                 f"validated on together: {listed}"))
    return tuple(replace(case, group=root(case.group)) for case in cases)


def one_image_in_two_groups(cases: Sequence[Case]) -> list[tuple[Case, Case]]:
    """The pairs of cases of one image that may be on two sides of a split."""
    return [(first, case) for first, case, reason in _matches(cases)
            if reason == "image" and first.group != case.group]


def _matches(cases: Sequence[Case]) -> Iterator[tuple[Case, Case, str]]:
    """Pairs of the first case and a later one of the same "image", "study" or "patient"."""
    for reason, keys in (("image", _image_keys(cases)), *_dicom_keys(cases)):
        first: dict[Hashable, Case] = {}
        for case, key in zip(cases, keys, strict=True):
            if key is not None and first.setdefault(key, case) is not case:
                yield first[key], case, reason


def _image_keys(cases: Sequence[Case]) -> list[Hashable]:
    """For each case, what only cases of the same image have; None where its files cannot be looked at."""
    identities: list[tuple[tuple[int, ...], ...] | None] = []
    for case in cases:
        try:
            identities.append(_identity(case.image))
        except OSError:  # `check` reports it
            identities.append(None)
    # Only files that are as large as another image's can have its content. Empty ones are no images.
    sizes = Counter(_sizes(identity) for identity in {*identities} if identity is not None)
    contents: dict[Hashable, str] = {}
    keys: list[Hashable] = []
    for case, identity in zip(cases, identities, strict=True):
        if identity is None or case.image.is_dir() or 0 in _sizes(identity) or sizes[_sizes(identity)] < 2:
            keys.append(identity)
            continue
        try:
            if identity not in contents:
                contents[identity] = _content(case.image, sampled=True)
            keys.append(contents[identity])
        except OSError:
            keys.append(identity)
    # Samples that agree are no proof yet.
    doubtful = {content for content, count in Counter(contents.values()).items() if count > 1}
    full_contents: dict[Hashable, str] = {}
    for number, (case, key) in enumerate(zip(cases, keys, strict=True)):
        if key in doubtful:
            identity = identities[number]
            if identity not in full_contents:
                full_contents[identity] = _content(case.image, sampled=False)
            keys[number] = full_contents[identity]
    return keys


def _identity(image: Path) -> tuple[tuple[int, ...], ...]:
    """Device, number and size of every file that a link leads to in the end; of a folder, its own."""
    files = [image] if image.is_dir() else files_of_image(image)
    identity = []
    for file in files:
        status = file.stat()
        identity.append((status.st_dev, status.st_ino, status.st_size))
    return tuple(identity)


def _sizes(identity: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    return tuple(file[-1] for file in identity)


def _content(image: Path, sampled: bool) -> str:
    """A checksum of an image's files, or of samples evenly spread over them."""
    digest = hashlib.sha256()
    for file in files_of_image(image):
        size = file.stat().st_size
        with open(file, "rb") as stream:
            if sampled:
                for number in range(_SAMPLES):
                    stream.seek(number * size // _SAMPLES)
                    digest.update(stream.read(_SAMPLE_BYTES))
                continue
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _dicom_keys(cases: Sequence[Case]) -> list[tuple[str, list[Hashable]]]:
    """Study and patient of the cases in DICOM, None of the others."""
    from ..formats.dicom_slices import STUDY_UID

    studies: list[Hashable] = []
    patients: list[Hashable] = []
    for case in cases:
        studies.append(None)
        patients.append(None)
        first = _first_slice(case.image)
        if first is not None:
            studies[-1] = first.tag(STUDY_UID) or None
            name, identity, *_ = first.patient
            patients[-1] = None if _NO_ID.fullmatch(identity.strip()) else (name, identity)
    named = [patient for patient in patients if patient is not None]
    if len(named) > 2 and len(set(named)) == 1:  # all alike: more likely a replaced ID than one patient throughout
        patients = [None] * len(patients)
    return [("study", studies), ("patient", patients)]


def _first_slice(image: Path) -> Slice | None:
    """The first slice of an image in DICOM, by the files' names; None for an image of another kind.

    Reports and structures that lie before it hold none.
    """
    from ..formats.dicom_slices import dicom_files, looks_like_dicom, read_slices

    files: Iterable[Path] = ()
    if image.is_dir():
        files = dicom_files(image, lambda error: None)
    elif image.is_file() and looks_like_dicom(image):
        files = [image]
    for file in files:
        try:
            slices = read_slices(file)
        except (UserError, OSError):  # `check` reports it
            continue
        if slices:
            return slices[0]
    return None
