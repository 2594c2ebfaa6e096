"""Where the patient is in the volume: a body mask at low resolution, its box and the mid-sagittal plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

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

    box: tuple[slice, slice, slice]
    midline: float | None
    inside: np.ndarray
    steps: tuple[int, int, int]

    def outside(self, shape: tuple[int, int, int]) -> np.ndarray:
        """(z, y, x) bool of `shape`, a grid that fills `box`: voxels that are certainly not in the patient."""
        rows = []
        for part, step, size, coarse in zip(self.box, self.steps, shape, self.inside.shape, strict=True):
            native = part.start + (np.arange(size) + 0.5) * (part.stop - part.start) / size
            rows.append(np.minimum((native / step).astype(int), coarse - 1))
        return ~self.inside[np.ix_(*rows)]


def find_body(ct: np.ndarray, spacing_zyx: tuple[float, float, float]) -> Body:
    """The patient in a canonical CT (z, y, x) of HU.

    Air around is left out, so is the table where air lies between; where nothing looks like a body the whole volume is
    returned: better slow than an organ cut away.
    """
    steps = [max(1, round(COARSE_MM / mm)) for mm in spacing_zyx]
    # A small volume seen coarsely would be a handful of voxels.
    steps = [min(step, max(1, size // 8)) for step, size in zip(steps, ct.shape, strict=True)]
    mask = ct[tuple(slice(step // 2, None, step) for step in steps)] > BODY_HU
    mask = _patient(mask)
    if mask is None:
        return Body(tuple(slice(0, size) for size in ct.shape), None, np.ones((1, 1, 1), bool), tuple(ct.shape))
    box = []
    for axis, (step, size, mm) in enumerate(zip(steps, ct.shape, spacing_zyx, strict=True)):
        filled = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = int(np.ceil(MARGIN_MM / mm)) + step
        box.append(slice(max(0, int(filled[0]) * step - margin), min(size, (int(filled[-1]) + 1) * step + margin)))
    closed = np.stack([ndimage.binary_fill_holes(plane) for plane in mask])  # lungs and gas open only up and down
    inside = ndimage.binary_dilation(closed, np.ones((3, 3, 3), bool))
    return Body((box[0], box[1], box[2]), _midline(mask, steps[2]), inside, (steps[0], steps[1], steps[2]))


def _patient(mask: np.ndarray) -> np.ndarray | None:
    """The large connected parts of a coarse mask, thin things such as a table opened away in plane."""
    opened = ndimage.binary_opening(mask, np.ones((1, 3, 3), bool)) if min(mask.shape[1:]) > 8 else mask
    parts, count = ndimage.label(opened)
    if count == 0:
        return None
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return (sizes >= PART_SHARE * sizes.max())[parts]


def _midline(mask: np.ndarray, step: int) -> float | None:
    first, last = (float(mask[:, :, edge].any(axis=1).mean()) for edge in (0, -1))
    if abs(first - last) > BORDER_SHARE:
        return None
    columns = np.cumsum(mask.sum(axis=(0, 1)))
    return float(np.searchsorted(columns, columns[-1] / 2)) * step + step // 2
