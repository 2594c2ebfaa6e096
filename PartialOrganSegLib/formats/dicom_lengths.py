"""Whether a DICOM file's elements claim more bytes than the file has, and how many its pixels are.

GDCM allocates what an element claims, up to 4 GB, before it looks how much there is. So the lengths are followed from
element to element first; no value is read.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"}
_REPRESENTATIONS = _LONG | {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN",
                            b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = 0x7FE00010
_MOST_ELEMENTS = 5_000_000
_BIG_ENDIAN_OR_DEFLATED = (b"1.2.840.10008.1.2.2\0", b"1.2.840.10008.1.2.1.99")


@dataclass(frozen=True)
class Lengths:
    """`too_much`: an element before the pixels is longer than the rest of the file, or there are more elements than any
    program writes. `pixels`: bytes of Pixel Data, None where it is compressed or was not come across."""

    too_much: bool = False
    pixels: int | None = None


def claims_too_much(file: Path) -> bool:
    """Whether an element before the pixels claims more than the file has, see `Lengths`."""
    return lengths_of(file).too_much


def lengths_of(file: Path) -> Lengths:
    """What a file's elements claim. Big-endian and deflated files, which hardly anybody has, are not followed."""
    if file.stat().st_size < 8:
        return Lengths()
    with open(file, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place = 132 if data[128:132] == b"DICM" else 0
        if any(syntax in data[:1024] for syntax in _BIG_ENDIAN_OR_DEFLATED):
            return Lengths()
        return _walk(data, place)


def _walk(data: mmap.mmap, place: int) -> Lengths:
    end = len(data)
    # Where the sequences and items around an element end, None for one that a delimiter ends.
    around: list[int | None] = []
    for _ in range(_MOST_ELEMENTS):
        if place + 8 > end:
            return Lengths()
        group, number = struct.unpack_from("<HH", data, place)
        tag = group << 16 | number
        while around and around[-1] is not None and place >= around[-1]:
            around.pop()
        if tag in (_ITEM, _ITEM_END, _SEQUENCE_END):  # these have no representation; what an item holds comes next
            length = struct.unpack_from("<I", data, place + 4)[0]
            place += 8
            if tag == _ITEM and length != _UNDEFINED and place + length > end:
                return Lengths(too_much=True)
            if tag == _ITEM:
                around.append(_end_of(place, length))
            elif around:
                around.pop()
            continue
        representation = data[place + 4:place + 6]
        if representation in _LONG:
            if place + 12 > end:
                return Lengths()
            length, begins = struct.unpack_from("<I", data, place + 8)[0], place + 12
        elif representation in _REPRESENTATIONS:
            length, begins = struct.unpack_from("<H", data, place + 6)[0], place + 8
        else:  # implicit
            length, begins = struct.unpack_from("<I", data, place + 4)[0], place + 8
        if tag == _PIXELS:
            # Pixels within a sequence are those of an icon.
            of_the_image = not around and length != _UNDEFINED
            return Lengths(pixels=length if of_the_image else None)
        # A sequence is entered, whether its length is told or not: its elements have lengths too.
        if length == _UNDEFINED or representation == b"SQ":
            if length != _UNDEFINED and begins + length > end:
                return Lengths(too_much=True)
            around.append(_end_of(begins, length))
            place = begins
            continue
        if begins + length > end:
            return Lengths(too_much=True)
        place = begins + length
    return Lengths(too_much=True)


def _end_of(begins: int, length: int) -> int | None:
    return None if length == _UNDEFINED else begins + length
