"""Whole CTs on the training set's grids: resampled, cropped to a box, the box round the body."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from PartialOrganSegLib.imaging.resampling import resample_box, working_shape
from PartialOrganSegLib.imaging.volume import Grid, Volume

BODY_HU, BODY_MARGIN_MM = -300, 10.0

Box = tuple[slice, slice, slice]


def at_spacing(ct: Volume, spacing_zyx: tuple[float, float, float]) -> Volume:
    """A CT as int16 on an LPS grid of about `spacing_zyx` mm that fills the same box, resampled as for inference."""
    ct = ct.canonical()
    shape, spacing = np.asarray(ct.grid.shape), np.asarray(ct.grid.spacing[::-1])
    target = working_shape(shape.tolist(), spacing.tolist(), spacing_zyx)
    z, y, x = (slice(0, int(size)) for size in shape)
    pixels = resample_box(ct.array, (z, y, x), target).round().clamp(max=32767).numpy().astype(np.int16)
    step_x, step_y, step_z = (spacing * shape / target)[::-1].tolist()
    first = ct.grid.matrix @ np.array([*(shape[::-1] / target[::-1] - 1) / 2, 1])  # the boxes' edges coincide
    origin = (float(first[0]), float(first[1]), float(first[2]))
    return Volume(pixels, Grid(target[::-1], (step_x, step_y, step_z), origin, ct.grid.direction))


def crop(volume: Volume, box: Box) -> Volume:
    """The part of a canonical volume within `box` (z, y, x slices)."""
    grid = volume.grid
    start = np.array([part.start for part in box[::-1]])
    array = volume.array[box]
    x, y, z = (grid.matrix[:3, :3] @ start + grid.matrix[:3, 3]).tolist()
    depth, height, width = array.shape
    return Volume(array, Grid((width, height, depth), grid.spacing, (x, y, z), grid.direction))


def padded(box: Sequence[slice], volume: Volume, margin_mm: Sequence[float]) -> Box:
    """`box` widened by `margin_mm` (z, y, x), within the volume."""
    margins = [int(np.ceil(mm / step)) for mm, step in zip(margin_mm, volume.grid.spacing[::-1], strict=True)]
    z, y, x = (slice(max(0, part.start - margin), min(size, part.stop + margin))
               for part, margin, size in zip(box, margins, volume.array.shape, strict=True))
    return z, y, x


def body_box(ct: Volume) -> Box:
    """The box around the body, with BODY_MARGIN_MM; the table goes as far as it is not below the body."""
    # The opening cuts what only touches: tubes, the table's edge, a blanket.
    body = ndimage.binary_opening(ct.array > BODY_HU, np.ones((1, 5, 5)))
    components, count = ndimage.label(body)
    if count == 0:
        return slice(0, ct.array.shape[0]), slice(0, ct.array.shape[1]), slice(0, ct.array.shape[2])
    largest = 1 + int(np.argmax(np.bincount(components.ravel())[1:]))
    return padded(ndimage.find_objects(components)[largest - 1], ct, [BODY_MARGIN_MM] * 3)
