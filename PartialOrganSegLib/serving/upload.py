"""The file of a CT that somebody sent: looked at before it is read, since it may have been made to do harm."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from ..errors import Code, UserError

LARGEST_VOXELS = 1 << 29  # 1 GiB of CT; a body of 2 m at 0.8 mm has half of that
_HEAD = 1 << 16  # bytes in which a header ends
_NIFTI_MAGIC = slice(344, 348)
_DATA_FILE = re.compile(rb"(?im)^\s*data\s*file\s*:")


def named_upload(path: Path) -> Path:
    """Renames the file to what its content is; gives its new path.

    Raises UserError for what is neither NRRD nor NIfTI in one file, for a header that points to another file, which
    would be one of the server's, and for an image of more than `LARGEST_VOXELS`.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    suffix = ""
    if head.startswith(b"NRRD"):
        _check_nrrd(head)
        suffix = ".nrrd"
    elif head[_NIFTI_MAGIC] == b"n+1\0":
        suffix = ".nii"
    elif head.startswith(b"\x1f\x8b") and _unpacked(head)[_NIFTI_MAGIC] == b"n+1\0":
        suffix = ".nii.gz"
    if not suffix:
        raise UserError(code=Code.WRONG_FORMAT, subject="the CT", expected="an NRRD or NIfTI file",
                        found="something else")
    named = path.with_name(f"ct{suffix}")
    path.rename(named)
    _check_size(named)
    return named


def _check_nrrd(head: bytes) -> None:
    header, end, _voxels = head.replace(b"\r\n", b"\n").partition(b"\n\n")
    if not end:
        raise UserError(code=Code.WRONG_FORMAT, subject="the CT", expected="the end of its header",
                        found=f"none in {_HEAD} bytes")
    if _DATA_FILE.search(header):
        raise UserError(code=Code.UNSAFE_FILE, subject="the CT", expected="voxels in the file itself",
                        found="a header that points to another file")


def _unpacked(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, 512)
    except zlib.error:
        return b""


def _check_size(path: Path) -> None:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise UserError(code=Code.FILE_DAMAGED, subject="the CT", found="its header cannot be read") from None
    voxels = reader.GetNumberOfComponents()
    for length in reader.GetSize():
        voxels *= max(1, int(length))
    if voxels > LARGEST_VOXELS:
        raise UserError(code=Code.TOO_LARGE, subject="the CT", expected=f"at most {LARGEST_VOXELS} voxels",
                        found=f"{voxels}")
