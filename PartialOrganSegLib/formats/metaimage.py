"""What a MetaImage header says, checked before ITK sees the file.

ITK's reader faults on some headers, takes a name of files for a printf format, allocates what a header claims, reads
damaged compressed voxels as noise, leaves voxels to chance where their files are not a slice each, and fills in a
spacing of 1 mm without a word.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..memory_claims import check_claim
from .checks import no_orientation, surplus_bytes, surplus_numbers
from .detached_files import detached_file, numbered_files
from .header_lines import check_words, header_lines, shown, whole_numbers

_BYTES = {"MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4, "MET_LONG": 4,
          "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8}
_ORIENTATIONS = ("transformmatrix", "rotation", "orientation")
_SPACINGS = ("elementspacing", "elementsize")
# Names that mean the same. ITK takes one of them.
_SAME_MEANING = (("offset", "position", "origin"), _SPACINGS, _ORIENTATIONS,
                 ("binarydatabyteordermsb", "elementbyteordermsb"))
_FLAGS = ("compresseddata", "binarydata", "binarydatabyteordermsb", "elementbyteordermsb")
_FREE_TEXT = ("comment", "name", "elementdatafile")
_MOST_LISTED = 100_000
_PIECE = 16 << 20  # bytes


def check_metaimage(path: Path, reporter: Reporter) -> None:
    """Raises UserError for a header that claims more than there is, names files elsewhere or leaves the voxel spacing
    open, and for compressed voxels that are cut short or fail their checksum; warns of one without orientation."""
    with open(path, "rb") as stream:
        fields: dict[str, str] = {}
        listed: list[str] = []
        lines = header_lines(path, stream)
        for line in lines:
            key, separator, value = line.partition("=")
            key = key.strip().lower()
            if not separator or key in fields:
                raise UserError(code=Code.FILE_DAMAGED, subject=path,
                                expected="a MetaImage header of 'Field = value' lines",
                                found=f"{shown(line)}{' a second time' if separator else ''}")
            fields[key] = value.strip()
            if key == "elementdatafile":
                break
        start = stream.tell()
        if fields.get("elementdatafile", "").upper().startswith("LIST"):
            listed = [line for line in lines if line]
            _check_last_line(path, stream)
    for name in ("NDims", "DimSize", "ElementType", "ElementDataFile"):
        if name.lower() not in fields:
            raise UserError(code=Code.FILE_DAMAGED, subject=path, expected=f"a MetaImage header with {name}",
                            found="none")
    check_words(path, fields, _FREE_TEXT)
    dimension = whole_numbers(path, "NDims", fields["ndims"], 1)[0]
    if dimension > 4:
        raise UserError(code=Code.NOT_A_VOLUME, subject=path, expected="one 3-D volume", found=f"{dimension} axes")
    sizes = whole_numbers(path, "DimSize", fields["dimsize"], dimension)
    item_bytes = _BYTES.get(fields["elementtype"].upper().removesuffix("_ARRAY"))
    if item_bytes is None:
        raise UserError(code=Code.WRONG_FORMAT, subject=f"{path}: ElementType", expected="integers or floats",
                        found=shown(fields["elementtype"]))
    _check_flags(path, fields)
    channels = whole_numbers(path, "ElementNumberOfChannels", fields.get("elementnumberofchannels", "1"), 1)[0]
    _check_fields(path, fields, dimension, reporter)
    files = _data_files(path, fields["elementdatafile"], listed)
    _check_slices(path, fields, sizes, math.prod(sizes[:-1]) * channels * item_bytes, files)
    _check_voxels(path, fields, math.prod(sizes) * channels, item_bytes, files, start, reporter)


def _check_flags(path: Path, fields: dict[str, str]) -> None:
    """Puts each flag as "true" or "false", by its first letter, as ITK does. Raises UserError for another word, which
    ITK takes for "false"."""
    for name in _FLAGS:
        letter = fields.get(name, "true")[:1].lower()
        if letter not in ("t", "1", "f", "0"):
            raise UserError(code=Code.FILE_DAMAGED, subject=f"{path}: {name}", expected="True or False",
                            found=shown(fields[name]))
        if name in fields:
            fields[name] = "true" if letter in ("t", "1") else "false"


def _check_fields(path: Path, fields: dict[str, str], dimension: int, reporter: Reporter) -> None:
    """What ITK leaves out or fills in: the spacing, a unit, a slope, the orientation."""
    _check_meanings(path, fields)
    modality = fields.get("modality", "").upper()
    if modality.startswith("MET_MOD_") and modality not in ("MET_MOD_CT", "MET_MOD_UNKNOWN", "MET_MOD_OTHER"):
        reporter.warning(Problem(Code.WRONG_MODALITY, str(path), "Modality MET_MOD_CT", shown(fields["modality"])))
    spacing = next((fields[name] for name in _SPACINGS if name in fields), None)
    if spacing is None:
        raise UserError(code=Code.GRID_UNUSABLE, subject=path, expected="ElementSpacing",
                        found="none: the size of its voxels is not known")
    _numbers(path, "ElementSpacing", spacing, dimension, positive=True)
    unit = fields.get("distanceunits", "mm").lower()
    if unit not in ("mm", "?", ""):
        raise UserError(code=Code.GRID_UNUSABLE, subject=f"{path}: DistanceUnits", expected="mm", found=shown(unit))
    for name, neutral in (("elementtointensityfunctionslope", 1.0), ("elementtointensityfunctionoffset", 0.0)):
        if name in fields and _numbers(path, name, fields[name], 1)[0] != neutral:
            raise UserError(code=Code.WRONG_FORMAT, subject=f"{path}: {name}", expected="voxels in HU as they are",
                            found=shown(fields[name]))
    matrix = next((fields[name] for name in _ORIENTATIONS if name in fields), None)
    if matrix is None:
        reporter.warning(no_orientation(path, "no TransformMatrix"))
    else:
        _numbers(path, "TransformMatrix", matrix, dimension * dimension)


def _check_meanings(path: Path, fields: Mapping[str, str]) -> None:
    """Raises UserError where two fields say two things of the same: nobody knows which is true."""
    for names in _SAME_MEANING:
        present = [name for name in names if name in fields]
        for name in present[1:]:
            first, other = fields[present[0]], fields[name]
            if first.lower().split() == other.lower().split():
                continue
            try:
                alike = [float(word) for word in first.split()] == [float(word) for word in other.split()]
            except ValueError:
                alike = False
            if not alike:
                raise UserError(code=Code.GRID_UNUSABLE, subject=f"{path}: {present[0]}", expected="one value",
                                found=f"{shown(first)}, and {shown(other)} as {name}")


def _numbers(path: Path, field: str, text: str, count: int, positive: bool = False) -> list[float]:
    numbers: list[float] = []
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        numbers = []
    wrong = [number for number in numbers if not math.isfinite(number) or (positive and number <= 0)]
    if len(numbers) != count or wrong:
        kind = "positive numbers" if positive else "numbers"
        raise UserError(code=Code.GRID_UNUSABLE, subject=f"{path}: {field}", expected=f"{count} {kind}",
                        found=shown(text))
    return numbers


def _data_files(path: Path, data: str, listed: list[str]) -> list[Path]:
    """The files of voxels; none where they follow the header. Raises UserError for one that is elsewhere."""
    if data.upper() == "LOCAL":
        return []
    if data.upper().startswith("LIST"):
        if not 0 < len(listed) <= _MOST_LISTED:
            raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="the names of its files of voxels",
                            found=len(listed))
        return [detached_file(path, name.strip()) for name in listed]
    if "%" in data:
        return numbered_files(path, data)
    return [detached_file(path, data)]


def _check_last_line(path: Path, stream: BinaryIO) -> None:
    """Raises UserError where the last of a list of names has no line break: ITK leaves that file out, and what its
    voxels become is chance."""
    stream.seek(-1, os.SEEK_END)
    if stream.read(1) != b"\n":
        raise UserError(code=Code.FILE_DAMAGED, subject=path,
                        expected="a line break after the last of its files of voxels", found="none",
                        hint="add one with a text editor")


def _check_last_number(path: Path, files: Sequence[Path]) -> None:
    """Raises UserError where nothing follows the last number in letters: ITK refuses the file as one that it cannot
    open. It may have more digits, which were cut off."""
    for file in files:
        with open(file, "rb") as stream:
            stream.seek(max(file.stat().st_size - 1, 0))
            if stream.read(1).strip():
                raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="a line break after the last number",
                                found=f"none in {file.name}", hint="add one, where the file is whole")


def _check_slices(path: Path, fields: Mapping[str, str], sizes: Sequence[int], slice_bytes: int,
                  files: Sequence[Path]) -> None:
    """Raises UserError where voxels lie in several files that are not a slice each: ITK reads a slice of each and
    leaves to chance what the others become."""
    data = fields["elementdatafile"]
    several = data.upper().startswith("LIST") or "%" in data
    if not several:
        return
    if data.upper() not in ("LIST", f"LIST {len(sizes) - 1}D") and "%" not in data:
        raise UserError(code=Code.FILE_DAMAGED, subject=f"{path}: ElementDataFile", expected="LIST, a file a slice",
                        found=shown(data))
    if len(files) != sizes[-1]:
        raise UserError(code=Code.FILE_DAMAGED, subject=path,
                        expected=f"a file of voxels for each of its {sizes[-1]} slices", found=f"{len(files)} files")
    if fields.get("compresseddata") == "true":
        return
    for file in files:
        if file.stat().st_size < slice_bytes:
            raise UserError(code=Code.FILE_DAMAGED, subject=file,
                            expected=f"the {slice_bytes} bytes of a slice of {path.name}",
                            found=f"{file.stat().st_size} bytes")


def _check_voxels(path: Path, fields: dict[str, str], count: int, item_bytes: int, files: list[Path], start: int,
                  reporter: Reporter) -> None:
    """Compares the voxels with the `count` of numbers that the header claims. Raises UserError."""
    claimed = count * item_bytes
    is_packed = fields.get("compresseddata") == "true"
    stored = sum(file.stat().st_size for file in files)
    if not files:
        stored = path.stat().st_size - start
    header_size = fields.get("headersize", "0")
    skipped = whole_numbers(path, "HeaderSize", header_size, 1, minimum=-1)[0]
    # ITK counts from the beginning of the file, so that other bytes of the header would be voxels.
    if not files and skipped > 0 and skipped != start:
        raise UserError(code=Code.FILE_DAMAGED, subject=f"{path}: HeaderSize",
                        expected=f"0 or {start}, where its voxels begin", found=skipped)
    if not files:
        skipped = 0
    in_file = stored - max(skipped, 0) * max(len(files), 1)
    if fields.get("binarydata") == "false":
        in_file *= 8  # a digit and a blank may be a voxel of eight bytes
    check_claim(path, claimed, in_file, is_packed)
    if "compresseddatasize" in fields:
        whole_numbers(path, "CompressedDataSize", fields["compresseddatasize"], 1)
    elif is_packed and not files:
        # ITK then unpacks nothing: a label map would be empty, a CT whatever lay in memory.
        raise UserError(code=Code.FILE_DAMAGED, subject=path,
                        expected="CompressedDataSize, the bytes of its compressed voxels", found="none",
                        hint=f"add a line 'CompressedDataSize = {stored}' above ElementDataFile")
    if not is_packed:
        # HeaderSize -1: the voxels are the last bytes of the file, whatever lies before.
        if header_size == "0" and fields.get("binarydata", "true") == "true":
            surplus_bytes(path, stored - claimed, reporter)
        elif header_size == "0":
            surplus_numbers(path, [(file, 0) for file in files] or [(path, start)], count)
            _check_last_number(path, files or [path])
        return
    for file in files or [path]:
        _unpack(path, file, 0 if files else start, claimed)


def _unpack(path: Path, file: Path, start: int, claimed: int) -> None:
    """Unpacks the voxels once, for their checksum. Raises UserError."""
    unpack = zlib.decompressobj(wbits=47)  # zlib or gzip
    total = 0
    try:
        with open(file, "rb") as stream:
            stream.seek(start)
            # The unpacked megabytes are thrown away: their number and the checksum at the end count.
            while not unpack.eof and (packed := stream.read(1 << 20)):
                # In pieces, because a megabyte may unpack to a thousand.
                while packed and total <= claimed:
                    total += len(unpack.decompress(packed, _PIECE))
                    packed = unpack.unconsumed_tail
                if total > claimed:
                    break
    except zlib.error as error:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="whole compressed voxels",
                        found="damaged data") from error
    if total > claimed:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected=f"{claimed} bytes of voxels, as its header says",
                        found="more")
    if not unpack.eof:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="whole compressed voxels",
                        found="data that end too early (truncated)")
