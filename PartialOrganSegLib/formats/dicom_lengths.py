"""Whether a DICOM file's elements claim more bytes than the file has, and how many its pixels are.

GDCM allocates what an element claims, up to 4 GB, before it looks how much there is. So the lengths are followed from
element to element first; no value is read.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from ..free_memory import free_memory

_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"}
_REPRESENTATIONS = _LONG | {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN",
                            b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = 0x7FE00010
_MOST_ELEMENTS = 5_000_000
_MOST_UNPACKED = 1 << 30  # bytes of a deflated file; multi-frame files of this size are compressed otherwise
_BIG_ENDIAN, _DEFLATED = b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"


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
    """What a file's elements claim. Deflated ones are unpacked for it, as far as memory allows."""
    if file.stat().st_size < 8:
        return Lengths()
    with open(file, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        syntax, place = _syntax_and_start(data)
        if syntax == _DEFLATED:
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            limit = min(_MOST_UNPACKED, free_memory() // 4)
            try:
                unpacked = unpacker.decompress(data[place:], limit)
            except zlib.error:
                return Lengths()  # which reading notices
            return Lengths(too_much=True) if unpacker.unconsumed_tail else _walk(unpacked, 0, "<")
        return _walk(data, place, ">" if syntax == _BIG_ENDIAN else "<")


def _syntax_and_start(data: mmap.mmap) -> tuple[bytes, int]:
    """The transfer syntax in the file's meta information, empty where there is none, and where the data set begins."""
    place, syntax = 132 if data[128:132] == b"DICM" else 0, b""
    while data[place:place + 2] == b"\x02\x00" and place + 12 <= len(data):
        tag, representation = data[place:place + 4], data[place + 4:place + 6]
        length, begins = struct.unpack_from("<H", data, place + 6)[0], place + 8
        if representation in _LONG:
            length, begins = struct.unpack_from("<I", data, place + 8)[0], place + 12
        elif representation not in _REPRESENTATIONS:
            length = struct.unpack_from("<I", data, place + 4)[0]
        if tag == b"\x02\x00\x10\x00":
            syntax = data[begins:begins + min(length, 64)].rstrip(b"\0 ")
        if begins + length > len(data):
            break  # the walk over the elements ends here as well, and says so
        place = begins + length
    return syntax, place


def _walk(data: mmap.mmap | bytes, place: int, order: str) -> Lengths:
    """`order` of bytes: "<" or ">"."""
    end = len(data)
    # Where the sequences and items around an element end, None for one that a delimiter ends.
    around: list[int | None] = []
    for _ in range(_MOST_ELEMENTS):
        if place + 8 > end:
            return Lengths()
        group, number = struct.unpack_from(f"{order}HH", data, place)
        tag = group << 16 | number
        while around and around[-1] is not None and place >= around[-1]:
            around.pop()
        if tag in (_ITEM, _ITEM_END, _SEQUENCE_END):  # these have no representation; what an item holds comes next
            length = struct.unpack_from(f"{order}I", data, place + 4)[0]
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
            length, begins = struct.unpack_from(f"{order}I", data, place + 8)[0], place + 12
        elif representation in _REPRESENTATIONS:
            length, begins = struct.unpack_from(f"{order}H", data, place + 6)[0], place + 8
        else:  # implicit
            length, begins = struct.unpack_from(f"{order}I", data, place + 4)[0], place + 8
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
