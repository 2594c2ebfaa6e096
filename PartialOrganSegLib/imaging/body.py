"""Where the patient is in the volume: a body mask at low resolution, its box and the mid-sagittal plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .shapes import Box3, Mask, Shape3, Spacing3, VoxelArray

COARSE_MM = 6.0
BODY_HU = -300.0
MARGIN_MM = 12.0
# Parts of at least this share of the largest stay: legs, or a body that the field of view cuts in two.
PART_SHARE = 0.2
# A body cut by the image border on one side only has no midline that its outline could tell.
BORDER_SHARE = 0.1


@dataclass(frozen=True)
class Body:
    """`box`: native (z, y, x) slices around the patient; `midline`: native x of the mid-sagittal plane or None.

    `inside`: coarse (z, y, x) bool of the patient with cavities and a margin, one voxel for `steps` native ones.
    """

    box: Box3
    midline: float | None
    inside: Mask
    steps: Shape3

    def outside(self, shape: Shape3) -> Mask:
        """(z, y, x) bool of `shape`, a grid that fills `box`: voxels that are certainly not in the patient."""
        coarse_numbers = []
        for part, step, size, coarse_size in zip(self.box, self.steps, shape, self.inside.shape, strict=True):
            native = part.start + (np.arange(size) + 0.5) * (part.stop - part.start) / size
            coarse_numbers.append(np.minimum((native / step).astype(int), coarse_size - 1))
        return ~self.inside[np.ix_(*coarse_numbers)]


def find_body(ct: VoxelArray, spacing_zyx: Spacing3) -> Body:
    """The patient in a canonical CT (z, y, x) of HU.

    Air around is left out, so is the table where air lies between; where nothing looks like a body the whole volume is
    returned: better slow than an organ cut away.
    """
    steps = [max(1, round(COARSE_MM / mm)) for mm in spacing_zyx]
    # A small volume seen coarsely would be a handful of voxels.
    steps = [min(step, max(1, size // 8)) for step, size in zip(steps, ct.shape, strict=True)]
    mask = _patient(ct[tuple(slice(step // 2, None, step) for step in steps)] > BODY_HU)
    if mask is None:
        depth, height, width = ct.shape
        return Body((slice(0, depth), slice(0, height), slice(0, width)), None, np.ones((1, 1, 1), bool),
                    (depth, height, width))
    box = []
    for axis, (step, size, mm) in enumerate(zip(steps, ct.shape, spacing_zyx, strict=True)):
        across = tuple({0, 1, 2} - {axis})
        filled = np.flatnonzero(mask.any(axis=across))
        # A coarse voxel stands for `step` native ones, of which the outermost may be the patient's skin.
        margin = int(np.ceil(MARGIN_MM / mm)) + step
        box.append(slice(max(0, int(filled[0]) * step - margin), min(size, (int(filled[-1]) + 1) * step + margin)))
    closed = np.stack([ndimage.binary_fill_holes(plane) for plane in mask])  # lungs and gas open only up and down
    inside = ndimage.binary_dilation(closed, np.ones((3, 3, 3), bool))
    return Body((box[0], box[1], box[2]), _midline(mask, steps[2]), inside, (steps[0], steps[1], steps[2]))


def _patient(mask: Mask) -> Mask | None:
    """The large connected parts of a coarse mask, thin things such as a table opened away in plane."""
    if min(mask.shape[1:]) > 8:
        mask = ndimage.binary_opening(mask, np.ones((1, 3, 3), bool))
    parts, count = ndimage.label(mask)
    if count == 0:
        return None
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0  # the background
    large: Mask = (sizes >= PART_SHARE * sizes.max())[parts]
    return large


def _midline(mask: Mask, step: int) -> float | None:
    """Native x with as much of the patient to the left as to the right; None for one who is cut at one side."""
    first, last = (float(mask[:, :, edge].any(axis=1).mean()) for edge in (0, -1))
    if abs(first - last) > BORDER_SHARE:
        return None
    columns = np.cumsum(mask.sum(axis=(0, 1)))
    return float(np.searchsorted(columns, columns[-1] / 2)) * step + step // 2
