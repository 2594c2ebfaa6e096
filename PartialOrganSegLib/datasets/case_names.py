"""What a case is called where nobody says it: after its CT's file, or after the folder where that says nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..formats.registry import stem_of
from ..formats.strokes_image import SAYS_NOTHING

_CHANNEL = re.compile(r"_0000$")  # nnU-Net numbers the channels of an image
# What file names of all systems and lists with commas cannot hold.
_UNFIT = re.compile(r'[\x00-\x1f/\\:*?"<>|,]+')


def case_name(ct: Path) -> str:
    """A CT's name: its file's or DICOM folder's, or that of the nearest folder above which is not called "image" or
    "ct" as in every other place. Of `ct` only what is written counts: a link has a name of its own.

    >>> case_name(Path("data/patient 7/image.nii.gz"))
    'patient 7'
    >>> case_name(Path("data/imagesTr/liver_12_0000.nii.gz"))
    'liver_12'
    """
    stem = without_channel(stem_of(ct))
    name = stem
    for folder in ct.parents:
        if name.lower() not in SAYS_NOTHING:
            break
        name = folder.name
    # Nothing above says more.
    if name in ("", "..") or name.lower() in SAYS_NOTHING:
        name = stem
    return _UNFIT.sub("_", name).strip(" .") or "case"


def without_channel(name: str) -> str:
    """The name of a CT's file without nnU-Net's number of its only channel.

    >>> without_channel("liver_12_0000"), without_channel("liver_12")
    ('liver_12', 'liver_12')
    """
    return _CHANNEL.sub("", name)


def name_with_folder(ct: Path) -> str:
    """Folder and file: what tells apart CTs that `case_name` calls alike, and what results of many CTs are called.

    >>> name_with_folder(Path("data/patient 7/image.nii.gz"))
    'patient 7_image'
    """
    return f"{ct.parent.name}_{stem_of(ct)}".lstrip("_.")


def case_names(cts: Sequence[Path]) -> list[str]:
    """The names of CTs, with the folder where several would have the same, capitals aside. They may still be the same.

    >>> case_names([Path("a/late.nii"), Path("b/late.nii"), Path("c/ct.nii")])
    ['a_late', 'b_late', 'c']
    """
    names = [case_name(ct) for ct in cts]
    counts = Counter(name.casefold() for name in names)
    result = []
    for name, ct in zip(names, cts, strict=True):
        if counts[name.casefold()] > 1:
            name = _UNFIT.sub("_", name_with_folder(ct)).strip(" .") or name
        result.append(name)
    return result
