"""Which files hold an image: itself, or a header and the files of voxels that it names, wherever these lie."""

from __future__ import annotations

import re
from pathlib import Path

_HEADERS = (".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img")
_HEADER_BYTES = 1 << 16  # more than any header of these formats has before its voxels
_NRRD_DATA = re.compile(rb"^data ?file:[ \t]*(.*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_METAIMAGE_DATA = re.compile(rb"^ElementDataFile[ \t]*=[ \t]*(.*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


def files_of_image(path: Path) -> list[Path]:
    """The image file and the files of voxels that its header names; all files beside it for a pattern of names.

    Files that do not exist are left out. Raises OSError for a header that cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix not in _HEADERS:
        return [path]
    if suffix in (".hdr", ".img"):  # Analyze and NIfTI pairs name nothing: the other half has the same stem
        pair = [path.with_suffix(half) for half in (".hdr", ".img")]
        return [file for file in pair if file.is_file()] or [path]
    if path.exists() and not path.is_file():  # a pipe, which names nothing and may never end
        return [path]
    with open(path, "rb") as stream:
        header = stream.read(_HEADER_BYTES)
    pattern = _NRRD_DATA if suffix in (".nrrd", ".nhdr") else _METAIMAGE_DATA
    match = pattern.search(header)
    if match is None or match[1].upper() == b"LOCAL":
        return [path]
    name = match[1].decode("utf-8", "surrogateescape")
    named = path.parent / name
    # A name may have blanks; a pattern ("ct%03d.raw 1 40 1") and a list ("LIST") name no file that there is.
    if "\0" not in name and named.is_file():
        return [path, named]
    beside = sorted(file for file in path.parent.iterdir() if file.is_file() and file != path)
    folder = named.parent
    if "\0" not in name and folder != path.parent and folder.is_dir():  # a pattern in another folder
        beside += sorted(file for file in folder.iterdir() if file.is_file())
    mentioned = [file for file in beside if file.name.encode("utf-8", "surrogateescape") in header]
    return [path, *(mentioned or beside)]
