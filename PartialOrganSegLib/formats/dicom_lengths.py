"""Whether a DICOM file's elements claim more bytes than the file has.

GDCM allocates what an element claims, up to 4 GB, before it looks how much there is. So the lengths are followed from
element to element first; no value is read.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"}
_REPRESENTATIONS = _LONG | {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN",
                            b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = 0x7FE00010
_MOST_ELEMENTS = 5_000_000
_BIG_ENDIAN_OR_DEFLATED = (b"1.2.840.10008.1.2.2\0", b"1.2.840.10008.1.2.1.99")


def claims_too_much(file: Path) -> bool:
    """Whether an element before the pixels is longer than the rest of the file, or there are more than any program
    writes. Big-endian and deflated files, which hardly anybody has, are not followed."""
    if file.stat().st_size < 8:
        return False
    with open(file, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place = 132 if data[128:132] == b"DICM" else 0
        if any(syntax in data[:1024] for syntax in _BIG_ENDIAN_OR_DEFLATED):
            return False
        return _walk(data, place)


def _walk(data: mmap.mmap, place: int) -> bool:
    end = len(data)
    for _ in range(_MOST_ELEMENTS):
        if place + 8 > end:
            return False
        group, number = struct.unpack_from("<HH", data, place)
        tag = group << 16 | number
        if tag == _PIXELS:
            return False
        if tag in (_ITEM, _ITEM_END, _SEQUENCE_END):  # these have no representation; what an item holds comes next
            length = struct.unpack_from("<I", data, place + 4)[0]
            place += 8
            if tag == _ITEM and length != _UNDEFINED and place + length > end:
                return True
            continue
        representation = data[place + 4:place + 6]
        if representation in _LONG:
            if place + 12 > end:
                return False
            length, begins = struct.unpack_from("<I", data, place + 8)[0], place + 12
        elif representation in _REPRESENTATIONS:
            length, begins = struct.unpack_from("<H", data, place + 6)[0], place + 8
        else:  # implicit
            length, begins = struct.unpack_from("<I", data, place + 4)[0], place + 8
        # A sequence is entered, whether its length is told or not: its elements have lengths too.
        if length == _UNDEFINED or representation == b"SQ":
            if length != _UNDEFINED and begins + length > end:
                return True
            place = begins
            continue
        if begins + length > end:
            return True
        place = begins + length
    return True
