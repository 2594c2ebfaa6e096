"""Which CT a label map's file lies on: in the header's field for free text."""

from __future__ import annotations

import gzip
from pathlib import Path

from .ct_identity import CtIdentity

_NRRD_KEY = "PartialOrganSeg.ct:="
_NIFTI_MAGIC = (344, 348)  # where the format's name stands
NIFTI_TEXT = (148, 228)  # the field `descrip`
_LONGEST_HEADER = 1 << 16


def nrrd_line(identity: CtIdentity) -> str:
    """The line of a NRRD header that says it; NIfTI has the text alone, in `NIFTI_TEXT`."""
    return f"{_NRRD_KEY}{identity.text()}"


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
        return CtIdentity.parsed(head[slice(*NIFTI_TEXT)].decode("latin-1"))
    return None
