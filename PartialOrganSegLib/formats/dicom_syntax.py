"""Which compressions of DICOM pixels GDCM cannot decode, and what can."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import Code, UserError
from .dicom_reading import read_header

# Uncompressed, deflated, RLE, JPEG, JPEG-LS and JPEG 2000 (PS3.5 A.4); the last digits of 1.2.840.10008.1.2.
_DECODED = {"", ".1", ".2", ".1.99", ".5", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91"}
_PLAIN = {"", ".1", ".2"}
_SYNTAX = re.compile(rb"\x02\x00\x10\x00UI(..)(.{0,64})", re.DOTALL)  # its element in the file's meta information
_META_BYTES = 4096
_ROOT = "1.2.840.10008.1.2"
_DECODERS = {".4.201": "pylibjpeg with pylibjpeg-openjpeg", ".4.202": "pylibjpeg with pylibjpeg-openjpeg",
             ".4.203": "pylibjpeg with pylibjpeg-openjpeg", ".4.110": "a JPEG XL decoder",
             ".4.111": "a JPEG XL decoder", ".4.112": "a JPEG XL decoder"}


def is_packed(file: Path) -> bool:
    """Whether a file's pixels may be more bytes than the file; unpacked ones are in files without a transfer syntax."""
    with open(file, "rb") as stream:
        match = _SYNTAX.search(stream.read(_META_BYTES))
    if match is None:
        return False
    length = int.from_bytes(match[1], "little")
    uid = match[2][:length].rstrip(b"\0 ").decode("latin-1")
    return uid.removeprefix(_ROOT) not in _PLAIN


def refuse_syntax(file: Path) -> None:
    """Raises UserError for a file whose transfer syntax GDCM cannot decode; returns for any other file."""
    from pydicom.uid import UID

    try:
        meta = read_header(file, only=[]).file_meta
    except UserError:
        return  # damaged in another way, which the caller reports
    syntax = UID(str(meta.get("TransferSyntaxUID", "")))
    ending = syntax.removeprefix(_ROOT)
    if not syntax or (syntax.startswith(_ROOT) and ending in _DECODED):
        return
    name = f"{syntax.name} ({syntax})" if syntax.name != syntax else f"an unknown one ({syntax})"
    package = _DECODERS.get(ending, "dcmdjpeg or gdcmconv, or the archive that it comes from,")
    raise UserError(code=Code.WRONG_FORMAT, subject=file, expected="pixels in a transfer syntax that can be decoded",
                    found=f"compressed as {name}",
                    hint=f"convert it to Explicit VR Little Endian first: {package} can decode it")
