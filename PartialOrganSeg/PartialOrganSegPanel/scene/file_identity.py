"""Writes into a label map's file which CT it lies on, and reads it back: in the header's field for free text."""

from __future__ import annotations

import gzip
from pathlib import Path

from .ct_identity import CtIdentity

_NRRD_KEY = b"PartialOrganSeg.ct:="
_NIFTI_MAGIC = (344, 348)  # where the format's name stands
_NIFTI_TEXT = (148, 228)  # the field `descrip`
_LONGEST_HEADER = 1 << 16


def write_identity(path: Path, identity: CtIdentity) -> None:
    """Notes the identity in a .nrrd, .nii or .nii.gz file; other formats have no place for it and stay as they are."""
    content = path.read_bytes()
    zipped = content.startswith(b"\x1f\x8b")
    if zipped:
        content = gzip.decompress(content)
    text = identity.text().encode()
    # the header of an NRRD file ends at its first empty line
    if content.startswith(b"NRRD"):
        head, _, voxels = content.partition(b"\n\n")
        content = head + b"\n" + _NRRD_KEY + text + b"\n\n" + voxels
    elif content[slice(*_NIFTI_MAGIC)] == b"n+1\0":
        start, end = _NIFTI_TEXT
        content = content[:start] + text.ljust(end - start, b"\0") + content[end:]
    else:
        return
    if zipped:  # at the quickest level: a label map is small at any
        content = gzip.compress(content, 1)
    path.write_bytes(content)


def read_identity(path: Path) -> CtIdentity | None:
    """The identity noted in a file, None where there is none. Raises OSError for a damaged .gz."""
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    opener = gzip.open if zipped else open
    with opener(path, "rb") as file:
        head = file.read(_LONGEST_HEADER)
    if head.startswith(b"NRRD"):
        return CtIdentity.parsed(head.partition(b"\n\n")[0].decode("latin-1"))
    if head[slice(*_NIFTI_MAGIC)] == b"n+1\0":
        return CtIdentity.parsed(head[slice(*_NIFTI_TEXT)].decode("latin-1"))
    return None
