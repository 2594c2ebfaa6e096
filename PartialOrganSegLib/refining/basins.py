"""What the edges of the CT enclose together with a stroke: its side of a watershed on the CT's gradient.

It finds the far side of a thick error that a stroke through its middle does not reach, and stops at faint edges where
looks alone run on. But it answers for every voxel, also where there is no edge: its word is one piece of evidence among
others (`rule`).
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..formats.itk import image_of
from ..imaging.shapes import Mask, Spacing3, shape_of
from ..imaging.volume import Grid, Volume
from .coarse import Values

LOWEST_HU, HIGHEST_HU = -160.0, 240.0
EDGE_MM = 1.0  # sigma of the gradient
CORE_MM = 2.5  # a label is believed so far from its border
LEAST_LENGTH = 4  # voxels along each axis, that the gradient's filter needs
_INSIDE, _OUTSIDE = 1, 2


def core(mask: Mask, spacing: Spacing3, deeper_than_mm: float = CORE_MM) -> Mask:
    """The voxels of a mask (z, y, x) that lie deeper than this; `spacing` (z, y, x) mm."""
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=spacing) > deeper_than_mm)


def basin(hu: Values, spacing: Spacing3, inside: Mask, outside: Mask) -> Mask:
    """(z, y, x) the voxels that the gradient of `hu` joins to `inside` and not to `outside`, the markers it grows.

    `spacing` (z, y, x) mm; no axis is shorter than `LEAST_LENGTH`. Where both are true, `inside` holds. All of it where
    there is no `outside`, and nothing where there is no `inside`.
    """
    markers = np.zeros(hu.shape, np.uint8)
    markers[outside] = _OUTSIDE
    markers[inside] = _INSIDE
    (depth, height, width), (z, y, x) = shape_of(hu), spacing
    grid = Grid((width, height, depth), (x, y, z))
    image, seeds = (image_of(Volume(values, grid)) for values in (hu.clip(LOWEST_HU, HIGHEST_HU), markers))
    gradient = sitk.GradientMagnitudeRecursiveGaussian(image, EDGE_MM)
    grown = sitk.MorphologicalWatershedFromMarkers(gradient, seeds, markWatershedLine=False, fullyConnected=True)
    return np.asarray(sitk.GetArrayFromImage(grown) == _INSIDE)
