"""What a NRRD header says, checked before ITK sees the file.

ITK's reader allocates what a header claims, faults on some headers, and takes its defaults in silence: a spacing of
1 mm, patient axes for a file that names none, millimetres whatever the unit.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from ..errors import Code, UserError
from ..events import Reporter
from ..memory_claims import MIB, check_claim
from .checks import no_orientation, surplus_bytes, surplus_numbers
from .detached_files import detached_file, numbered_files
from .header_lines import check_words, shown, whole_numbers
from .nrrd_header import NrrdHeader, read_nrrd_header

_BYTES = {
    1: "signed char|int8|int8_t|uchar|unsigned char|uint8|uint8_t",
    2: "short|short int|signed short|signed short int|int16|int16_t|ushort|unsigned short|unsigned short int|uint16|"
       "uint16_t",
    4: "int|signed int|int32|int32_t|uint|unsigned int|uint32|uint32_t|float",
    8: "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t|ulonglong|"
       "unsigned long long|unsigned long long int|uint64|uint64_t|double"}
_GZIP = ("gzip", "gz")
_PACKED = _GZIP  # ITK knows no other
_FREE_TEXT = ("content", "data file")
_LONGEST_FIELD = 800  # of a field; teem's reader writes what it cannot parse into a buffer of 1024
_PLAIN = ("raw",)
_HEX = "hex"  # two letters a byte
_TEXT = ("ascii", "text", "txt", _HEX)
# The patient's axes in any order of words, with or without time.
_PATIENT_SPACES = {"left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior", "las"}
_PLACES = ("domain", "space", "none", "???")  # kinds of axes along which voxels lie in the patient
_OF_A_SEGMENT = re.compile(r"Segment\d+_\w+")
_VECTOR = re.compile(r"none|\([^()]*\)", re.IGNORECASE)


def check_nrrd(path: Path, reporter: Reporter) -> None:
    """Raises UserError for a header that claims more than there is, names files elsewhere or leaves the voxel spacing
    open; warns of one without orientation."""
    header = read_nrrd_header(path)
    fields = header.fields
    check_words(path, fields, _FREE_TEXT)
    for name, value in fields.items():
        if name != "content" and len(name) + len(value.encode("utf-8", "replace")) > _LONGEST_FIELD:
            raise UserError(code=Code.FILE_DAMAGED, subject=f"{path}: {name}",
                            expected=f"at most {_LONGEST_FIELD} letters", found=shown(value))
    for name in ("type", "dimension", "sizes", "encoding"):
        if name not in fields:
            raise UserError(code=Code.FILE_DAMAGED, subject=path, expected=f"a NRRD header with '{name}'", found="none")
    item_bytes = _item_bytes(path, fields["type"])
    dimension = whole_numbers(path, "dimension", fields["dimension"], 1)[0]
    if dimension > 4:
        raise UserError(code=Code.NOT_A_VOLUME, subject=path, expected="one 3-D volume", found=f"{dimension} axes")
    sizes = whole_numbers(path, "sizes", fields["sizes"], dimension)
    _refuse_layers(path, header, sizes)
    _check_grid_fields(path, fields, dimension, reporter)
    _check_size(path, header, math.prod(sizes), item_bytes, reporter)


def _refuse_layers(path: Path, header: NrrdHeader, sizes: Sequence[int]) -> None:
    """Raises UserError for a segmentation of 3D Slicer with a list of label maps as its first axis: segments overlap,
    or did so while they were drawn. Slicer up to 4.10 wrote each segment so."""
    if len(sizes) == 4 and sizes[0] > 1 and any(map(_OF_A_SEGMENT.fullmatch, header.keys)):
        raise UserError(code=Code.NOT_A_VOLUME, subject=path, expected="segments in one layer",
                        found=f"{sizes[0]} layers, as of segments that overlap",
                        hint="in Slicer's module Segmentations: Binary labelmap layers, Collapse labelmap layers "
                             "(force it where they overlap: the last segment keeps the voxels), then save again")


def _item_bytes(path: Path, type_name: str) -> int:
    for count, names in _BYTES.items():
        if type_name.lower() in names.split("|"):
            return count
    raise UserError(code=Code.WRONG_FORMAT, subject=f"{path}: type", expected="integers or floats of 8 to 64 bits",
                    found=shown(type_name))


def _check_grid_fields(path: Path, fields: dict[str, str], dimension: int, reporter: Reporter) -> None:
    units = re.findall(r'"([^"]*)"', fields.get("space units", "") + fields.get("units", ""))
    foreign = [unit for unit in units if unit.strip().lower() not in ("", "mm", "???", "millimeter", "millimeters")]
    if foreign:
        raise UserError(code=Code.GRID_UNUSABLE, subject=f"{path}: space units", expected="millimetres",
                        found=shown(foreign[0]))
    for kind in fields.get("kinds", "").split():
        # With a fourth axis its size says whether there are several volumes.
        if dimension == 3 and kind.lower() not in _PLACES:
            raise UserError(code=Code.NOT_A_VOLUME, subject=f"{path}: kinds", expected="three axes in space",
                            found=shown(kind))
    space = fields.get("space", "").lower()
    if "space directions" not in fields:
        if "spacings" not in fields:
            raise UserError(code=Code.GRID_UNUSABLE, subject=path, expected="'space directions' or 'spacings'",
                            found="neither: the size of its voxels is not known")
        spacings = fields["spacings"].split()
        if len(spacings) != dimension or any(not _is_positive(word) for word in spacings[:3]):
            raise UserError(code=Code.GRID_UNUSABLE, subject=f"{path}: spacings",
                            expected=f"{dimension} positive numbers", found=shown(fields["spacings"]))
        reporter.warning(no_orientation(path, "no 'space directions'"))
        return
    vectors = _VECTOR.findall(fields["space directions"])
    in_space = [vector for vector in vectors if vector.lower() != "none"]
    if len(vectors) != dimension or len(in_space) < min(3, dimension):
        raise UserError(code=Code.GRID_UNUSABLE, subject=f"{path}: space directions",
                        expected="a vector for each of three axes", found=shown(fields["space directions"]))
    if space not in _PATIENT_SPACES and space.removesuffix("-time") not in _PATIENT_SPACES:
        found = f"the space '{space}'" if space else "no 'space'"
        reporter.warning(no_orientation(path, found))


def _is_positive(word: str) -> bool:
    try:
        return 0 < float(word) < math.inf
    except ValueError:
        return False


def _check_size(path: Path, header: NrrdHeader, voxels: int, voxel_bytes: int, reporter: Reporter) -> None:
    """Compares what the header claims with the files of voxels. Raises UserError."""
    fields, claimed = header.fields, voxels * voxel_bytes
    encoding = fields["encoding"].lower()
    if encoding not in (*_PACKED, *_PLAIN, *_TEXT):
        raise UserError(code=Code.WRONG_FORMAT, subject=f"{path}: encoding", expected="raw or gzip",
                        found=shown(fields["encoding"]))
    data = fields.get("data file")
    files: list[Path] = []
    if data is None:
        stored = path.stat().st_size - header.data_offset
    else:
        words = data.split()
        if words[:1] and words[0].upper() == "LIST":
            files = [detached_file(path, name) for name in header.data_files]
        elif "%" in data:
            files = numbered_files(path, data)
        else:
            files = [detached_file(path, data)]
        stored = sum(file.stat().st_size for file in files)
    is_known = True  # how much is to be read
    for name in ("byte skip", "line skip", "byteskip", "lineskip"):
        if name in fields:
            skipped = whole_numbers(path, name, fields[name], 1, minimum=-1)[0]
            is_of_bytes = name.startswith("byte") and skipped > 0
            if skipped and not (is_of_bytes and encoding in _PLAIN and len(files) < 2):
                is_known = False
            if is_of_bytes:
                stored -= skipped
    if encoding in _TEXT:
        stored *= 8  # a digit and a blank may be a voxel of eight bytes
    check_claim(path, claimed, max(stored, 0), encoding in _PACKED)
    if not is_known:
        return
    starts = [(path, header.data_offset)] if data is None else [(file, 0) for file in files]
    if encoding in _PLAIN:
        surplus_bytes(path, stored - claimed, reporter)
    elif encoding in _GZIP:
        surplus_bytes(path, _unpacked_bytes(starts, claimed) - claimed, reporter)
    elif encoding in _TEXT:
        surplus_numbers(path, starts, voxels, 2 * voxel_bytes if encoding == _HEX else 0)


def _unpacked_bytes(starts: Sequence[tuple[Path, int]], claimed: int) -> int:
    """How many bytes gzip's data unpack to that begin in files at these places; a mebibyte more than `claimed` at most,
    and `claimed` where they are damaged: ITK says how."""
    if len(starts) == 1 and starts[0][0].stat().st_size > 4:
        # The last four bytes say it (RFC 1952), where nothing follows, and spare a second unpacking.
        with open(starts[0][0], "rb") as stream:
            stream.seek(-4, os.SEEK_END)
            if int.from_bytes(stream.read(4), "little") == claimed % 2 ** 32:
                return claimed
    total = 0
    try:
        for file, offset in starts:
            with open(file, "rb") as packed:
                packed.seek(offset)
                with gzip.GzipFile(fileobj=packed) as stream:
                    while total <= claimed + MIB and (piece := stream.read(MIB)):
                        total += len(piece)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        # Zeros or other bytes may follow the last of the data.
        return max(total, claimed)
    return total
