"""How a CT slice's numbers are stored (Image Pixel Module, PS3.3 C.7.6.3), looked at before GDCM guesses.

Where sizes, bits or the photometric interpretation are missing, impossible or do not fit the bytes in the file, GDCM
goes on with what it takes for likely: other numbers come out, or what happens to lie in memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import Code, UserError
from ..imaging.shapes import Shape3
from .dicom_attributes import RESCALE_INTERCEPT, RESCALE_SLOPE, BadAttribute
from .itk_names import plain_folder

SAMPLES, PHOTOMETRIC = "0028|0002", "0028|0004"
BITS_ALLOCATED, BITS_STORED, HIGH_BIT, PIXEL_REPRESENTATION = "0028|0100", "0028|0101", "0028|0102", "0028|0103"
PADDING_VALUE = "0028|0120"
TAGS = (SAMPLES, PHOTOMETRIC, BITS_ALLOCATED, BITS_STORED, HIGH_BIT, PIXEL_REPRESENTATION, PADDING_VALUE)
_INVERTED = "MONOCHROME1"  # low numbers shown bright; the numbers themselves mean the same
_GREY = ("MONOCHROME2", _INVERTED)
_ALLOCATED = (8, 16, 32)
_SHOWN = 60
_DENSEST_HU = 4000  # scanners end at 3071; wider scales go further for metal alone, whose values vary


def bad_pixels(tags: Mapping[str, str], size: Shape3, stored_bytes: int | None) -> BadAttribute | None:
    """The first attribute by which a slice's stored numbers cannot be told for certain; None for a sound slice.

    `size`: (columns, rows, frames). `stored_bytes`: of the pixels in the file, None where they are compressed.
    """
    # One number a pixel and its photometric interpretation go without saying where both are left out.
    if tags.get(SAMPLES) and _number(tags, SAMPLES) != 1:
        return _bad(tags, SAMPLES, "1 as Samples per Pixel")
    # Not so where it is there without a text: GDCM takes bytes of another kind for an inverted image.
    if PHOTOMETRIC in tags and tags[PHOTOMETRIC] not in _GREY:
        return _bad(tags, PHOTOMETRIC, f"{_GREY[0]} as Photometric Interpretation")
    allocated, stored = _number(tags, BITS_ALLOCATED), _number(tags, BITS_STORED)
    if allocated not in _ALLOCATED:
        return _bad(tags, BITS_ALLOCATED, "8, 16 or 32 as Bits Allocated")
    if stored is None or not 1 <= stored <= allocated:
        return _bad(tags, BITS_STORED, f"1 to {allocated} as Bits Stored")
    if tags.get(HIGH_BIT) and _number(tags, HIGH_BIT) != stored - 1:
        return _bad(tags, HIGH_BIT, f"{stored - 1} as High Bit, one less than Bits Stored")
    if _number(tags, PIXEL_REPRESENTATION) not in (0, 1):
        return _bad(tags, PIXEL_REPRESENTATION, "0 (unsigned) or 1 (signed) as Pixel Representation")
    columns, rows, frames = size
    row_bytes = columns * allocated // 8
    claimed = row_bytes * rows * frames
    # Some programs fill up the end; a whole row more is another image size.
    if stored_bytes is not None and not claimed <= stored_bytes < claimed + row_bytes:
        return BadAttribute(f"{claimed} bytes of pixels for {columns} x {rows} x {frames} of {allocated} bits, "
                            "as the header says", str(stored_bytes))
    return None


def padding_hu(tags: Mapping[str, str]) -> float | None:
    """The HU that Pixel Padding Value comes to where it is above all that a patient holds: read as it is, what lies
    outside the scanner's field would be metal. None where there is none, or it lies below air, which is left as it is.
    """
    try:
        stored = int(tags.get(PADDING_VALUE, ""))
        slope, intercept = float(tags.get(RESCALE_SLOPE) or 1), float(tags.get(RESCALE_INTERCEPT) or 0)
    except ValueError:
        return None
    bits = _number(tags, BITS_ALLOCATED) or 0
    # A signed image's padding may be written unsigned: 63536 for -2000.
    if _number(tags, PIXEL_REPRESENTATION) == 1 and stored >= 1 << (bits - 1):
        stored -= 1 << bits
    value = slope * stored + intercept
    return value if value > _DENSEST_HU else None


@contextlib.contextmanager
def for_gdcm(file: Path, tags: Mapping[str, str]) -> Iterator[Path]:
    """A file whose numbers GDCM leaves as they are: it turns those of MONOCHROME1 round, so that fat is above bone.

    Such a file is copied as MONOCHROME2. Raises UserError where it cannot be copied.
    """
    if tags.get(PHOTOMETRIC) != _INVERTED:
        yield file
        return
    from pydicom import dcmread

    with plain_folder() as folder:
        copy = folder / "copy.dcm"
        try:
            image = dcmread(file, force=True)
            image.PhotometricInterpretation = _GREY[0]
            image.save_as(copy)
        # As with headers: pydicom raises whatever its parser ran into.
        except Exception as error:
            raise UserError(code=Code.FILE_DAMAGED, subject=file, expected=f"a whole image in {_INVERTED}",
                            found="a damaged one") from error
        yield copy


def _number(tags: Mapping[str, str], tag: str) -> int | None:
    text = tags.get(tag, "")
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else None


def _bad(tags: Mapping[str, str], tag: str, expected: str) -> BadAttribute:
    value = tags.get(tag, "")
    found = f"'{value[:_SHOWN]}'" if value else "none"
    return BadAttribute(f"{expected} ({tag.replace('|', ',')})", found)
