"""Looks for damage in compressed MetaImage files, which ITK reads as noise without a word."""

from __future__ import annotations

import zlib
from pathlib import Path

from ..errors import Code, UserError

_LONGEST_HEADER = 1 << 16


def check_metaimage(path: Path) -> None:
    """Raises UserError when the compressed voxels of a .mha or .mhd file are cut short or fail their checksum."""
    with open(path, "rb") as stream:
        fields: dict[str, str] = {}
        while stream.tell() < _LONGEST_HEADER and "ElementDataFile" not in fields:
            line = stream.readline(4096).decode("latin-1")
            if not line:
                return
            key, _, value = line.partition("=")
            fields[key.strip()] = value.strip()
        start = stream.tell()
    # "%" and LIST stand for a file a slice; those are left to ITK.
    data = fields.get("ElementDataFile", "")
    if fields.get("CompressedData", "").lower() != "true" or not data or "%" in data or data == "LIST":
        return
    local = data.upper() == "LOCAL"
    file = path if local else path.parent / data
    if not file.is_file():
        raise UserError(code=Code.FILE_MISSING, subject=path, expected=f"its voxels in {file.name} beside it",
                        found="no such file")
    unpack = zlib.decompressobj(wbits=47)  # zlib or gzip
    try:
        with open(file, "rb") as stream:
            stream.seek(start if local else 0)
            # The unpacked megabytes are thrown away: only the checksum at the end counts.
            while not unpack.eof and (packed := stream.read(1 << 20)):
                unpack.decompress(packed)
    except zlib.error as error:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="whole compressed voxels",
                        found=f"damaged data ({error})") from error
    if not unpack.eof:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="whole compressed voxels",
                        found="data that end too early (truncated)")
