"""The attributes that place a CT slice and turn its numbers into HU, looked at before GDCM's defaults take their place.

Where Pixel Spacing, Image Orientation, Image Position or the rescale slope is missing, empty or unreadable, GDCM goes
on with 1 mm, an axial slice, the scanner's centre or no scaling, without a word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

PIXEL_SPACING, IMAGE_POSITION, IMAGE_ORIENTATION = "0028|0030", "0020|0032", "0020|0037"
RESCALE_INTERCEPT, RESCALE_SLOPE, RESCALE_TYPE = "0028|1052", "0028|1053", "0028|1054"
SPACING_BETWEEN_SLICES = "0018|0088"
TAGS = (SPACING_BETWEEN_SLICES, PIXEL_SPACING, IMAGE_POSITION, IMAGE_ORIENTATION, RESCALE_INTERCEPT, RESCALE_SLOPE,
        RESCALE_TYPE)
_NAMES = {PIXEL_SPACING: "Pixel Spacing", IMAGE_POSITION: "Image Position (Patient)",
          IMAGE_ORIENTATION: "Image Orientation (Patient)", RESCALE_INTERCEPT: "Rescale Intercept",
          RESCALE_SLOPE: "Rescale Slope", SPACING_BETWEEN_SLICES: "Spacing Between Slices"}
# HU lie between -1024 and some ten thousand; beyond these numbers of 12 or 16 bits become nothing of the kind.
LARGEST_SLOPE, LARGEST_INTERCEPT = 100.0, 100_000.0
_OFF_UNIT = 0.02  # of an axis' length, and cosine between the two: more is no rounding
_SHOWN = 60


@dataclass(frozen=True)
class BadAttribute:
    """An attribute of a slice that cannot be used: what was `expected` (with its name and tag), what was `found`."""

    expected: str
    found: str


def bad_attribute(tags: Mapping[str, str]) -> BadAttribute | None:
    """The first attribute without which a slice's place, size or HU would be made up; None for a sound slice.

    Both rescale attributes may be missing (see `has_rescale`), but not one alone, and not with a value that is none.
    """
    spacing = _numbers(tags, PIXEL_SPACING, 2)
    if spacing is None or min(spacing) <= 0:
        return _bad(tags, PIXEL_SPACING, "two positive numbers")
    if _numbers(tags, IMAGE_POSITION, 3) is None:
        return _bad(tags, IMAGE_POSITION, "three numbers")
    axes = _numbers(tags, IMAGE_ORIENTATION, 6)
    if axes is None or not _are_axes(axes):
        return _bad(tags, IMAGE_ORIENTATION, "two unit vectors at right angles")
    if not has_rescale(tags):
        return None
    slope = _numbers(tags, RESCALE_SLOPE, 1)
    if slope is None or not 0 < abs(slope[0]) <= LARGEST_SLOPE:
        return _bad(tags, RESCALE_SLOPE, f"a number other than 0 and up to {LARGEST_SLOPE:g}")
    intercept = _numbers(tags, RESCALE_INTERCEPT, 1)
    if intercept is None or abs(intercept[0]) > LARGEST_INTERCEPT:
        return _bad(tags, RESCALE_INTERCEPT, f"a number up to {LARGEST_INTERCEPT:g}")
    return None


def bad_stack_attribute(tags: Mapping[str, str]) -> BadAttribute | None:
    """The first attribute that a file of many frames without places of their own lacks: then neither the size nor the
    distance of its slices is known. None for a sound one."""
    spacing, distance = _numbers(tags, PIXEL_SPACING, 2), _numbers(tags, SPACING_BETWEEN_SLICES, 1)
    if spacing is None or min(spacing) <= 0:
        return _bad(tags, PIXEL_SPACING, "two positive numbers")
    if distance is None or distance[0] <= 0:
        return _bad(tags, SPACING_BETWEEN_SLICES, "a positive number")
    axes = _numbers(tags, IMAGE_ORIENTATION, 6)
    if axes is None or not _are_axes(axes):
        return _bad(tags, IMAGE_ORIENTATION, "two unit vectors at right angles")
    return None


def has_rescale(tags: Mapping[str, str]) -> bool:
    """Whether a slice says how its numbers become HU; some programs store HU and leave both attributes out."""
    return bool(tags.get(RESCALE_SLOPE) or tags.get(RESCALE_INTERCEPT))


def _bad(tags: Mapping[str, str], tag: str, kind: str) -> BadAttribute:
    name = f"{_NAMES[tag]} ({tag.replace('|', ',')})"
    value = tags.get(tag, "")
    found = f"'{value[:_SHOWN]}'" if value else "none"
    return BadAttribute(f"{kind} as {name}", found)


def _numbers(tags: Mapping[str, str], tag: str, count: int) -> list[float] | None:
    words = tags.get(tag, "").split("\\")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _are_axes(numbers: list[float]) -> bool:
    row, column = np.array(numbers[:3]), np.array(numbers[3:])
    lengths = np.linalg.norm([row, column], axis=1)
    return bool(np.abs(lengths - 1).max() < _OFF_UNIT and abs(float(row @ column)) < _OFF_UNIT)
