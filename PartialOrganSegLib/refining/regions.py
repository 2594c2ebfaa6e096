"""Boxes of voxels around strokes and changes."""

from __future__ import annotations

import numpy as np

from ..imaging.shapes import Box3, Mask, Spacing3


def padded_box(box: Box3, margin_mm: float, spacing: Spacing3, shape: tuple[int, ...]) -> Box3:
    """The box with a margin, as far as the array of `shape` goes."""
    z, y, x = (slice(max(0, part.start - int(np.ceil(margin_mm / mm))),
                     min(size, part.stop + int(np.ceil(margin_mm / mm))))
               for part, mm, size in zip(box, spacing, shape, strict=True))
    return z, y, x


def box_within(inner: Box3, outer: Box3) -> Box3:
    """A box of a part of an array, as the box of the whole array."""
    z, y, x = (slice(start.start + part.start, start.start + part.stop)
               for part, start in zip(inner, outer, strict=True))
    return z, y, x


def box_of(mask: Mask) -> Box3:
    """Around all voxels of a mask that has some; one axis after the other, as `find_objects` copies the mask."""
    parts = []
    for axis in range(3):
        across = ((1, 2), (0, 2), (0, 1))[axis]
        filled = np.flatnonzero(mask.any(axis=across))
        parts.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return parts[0], parts[1], parts[2]
