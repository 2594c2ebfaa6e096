"""The header of a NRRD file as text fields (teem's format, versions 1 to 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import Code, UserError, did_you_mean
from .header_lines import header_lines, shown

_MAGIC = "NRRD"
_FIELDS = frozenset({
    "content", "number", "type", "block size", "blocksize", "dimension", "space", "space dimension", "sizes",
    "spacings", "thicknesses", "axis mins", "axismins", "axis maxs", "axismaxs", "space directions", "centers",
    "centerings", "kinds", "labels", "units", "min", "max", "old min", "oldmin", "old max", "oldmax", "endian",
    "encoding", "line skip", "lineskip", "byte skip", "byteskip", "sample units", "sampleunits", "space units",
    "space origin", "measurement frame", "data file", "datafile"})
_LONGEST_FIELD = 40
_MOST_FILES = 100_000  # of voxels that a header may list


@dataclass(frozen=True)
class NrrdHeader:
    """`fields`: name in small letters to text, e.g. "sizes"; `keys`: what programs add as `key:=value`.

    `data_files`: the names after "data file: LIST". `data_offset`: where in the file the voxels begin.
    """

    fields: dict[str, str]
    keys: dict[str, str]
    data_files: tuple[str, ...]
    data_offset: int


def read_nrrd_header(path: Path) -> NrrdHeader:
    """Raises UserError for what is no NRRD file, and for a field that occurs twice."""
    with open(path, "rb") as stream:
        return _parsed(path, stream)


def _parsed(path: Path, stream: BinaryIO) -> NrrdHeader:
    lines = header_lines(path, stream)
    first = next(lines, "")
    if not first.startswith(_MAGIC):
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a NRRD file",
                        found=f"other content (it starts with {shown(first[:12])})" if first else "an empty file")
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    for line in lines:
        if not line:  # the voxels follow
            break
        if line.startswith("#"):
            continue
        # A key may hold a colon, and a field's value ":=", so what comes first in the line decides.
        key, is_key, value = line.partition(":=")
        name, is_field, text = line.partition(":")
        if is_key and len(key) <= len(name):
            keys[key] = value
            continue
        name = name.strip().lower()
        if is_field and name not in _FIELDS:  # teem's reader faults on long ones
            raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="the fields of a NRRD header",
                            found=shown(name), hint=did_you_mean(name[:_LONGEST_FIELD], _FIELDS))
        if not is_field or name in fields:
            raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="a NRRD header of 'field: value' lines",
                            found=f"{shown(line)}{' a second time' if is_field else ''}")
        fields[name] = text.strip()
        if name in ("data file", "datafile"):
            fields["data file"] = fields.pop(name)
            if fields["data file"].upper().split()[:1] == ["LIST"]:  # names of files until the end
                return NrrdHeader(fields, keys, _names(path, lines), stream.tell())
    return NrrdHeader(fields, keys, (), stream.tell())


def _names(path: Path, lines: Iterator[str]) -> tuple[str, ...]:
    names: list[str] = []
    for line in lines:
        names.append(line)
        if len(names) > _MOST_FILES:
            raise UserError(code=Code.FILE_DAMAGED, subject=path, expected=f"at most {_MOST_FILES} files of voxels",
                            found="more")
    return tuple(names)
