"""How far a stroke reaches: by its own extent, by the thickness of its organ, and by that of the error it points at.

People draw through the middle of what is wrong: a long stroke points at a long error, one in the middle of a thick
error lies far from its border. An organ of which there is no more than a fragment says nothing of its size; how large
it usually is does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from ..imaging.shapes import Mask, Spacing3
from .coarse import Values

SHORTEST_REACH_MM, LONGEST_REACH_MM = 8.0, 40.0
# Of the stroke's extent. What is too much of an organ ends where the organ does; one that ends too early may be
# surrounded by what looks like it.
REACH_OF_EXTENT, REACH_OF_EXTENT_BACKGROUND = 0.35, 0.5
REACH_OF_EXTENT_MISSING = 1.0  # of the extent of a stroke in an organ that the labels lack: nothing else says its size
LONGEST_REACH_MISSING_MM = 60.0
REACH_OF_USUAL_RADIUS = 1.0  # of a ball as large as the organ usually is
REACH_OF_THICKNESS = 1.5  # of the half thickness of the organ that gains or loses
LEAST_REACH_MM = 5.0  # of a thin organ
REACH_OF_ERROR = 4.0  # of the half thickness of the error
# An organ that ends too early has errors as thin as its rim, and all kinds of tissue beyond. Where a label is wrong, it
# is itself the bound.
LEAST_REACH_INTO_BACKGROUND_MM, LEAST_REACH_INTO_ORGAN_MM = 6.0, 14.0
LEAST_ORGAN_MM3 = 500.0  # less of an organ says nothing of its thickness
HALF_THICKNESS_OF_RADIUS = 0.5  # of a ball as large as the organ usually is; no organ is one


def extent_of(stroke: Mask, spacing: Spacing3) -> float:
    """Millimetres between the opposite corners of a stroke's box; `stroke` (z, y, x) is not empty, `spacing` mm."""
    return float(np.linalg.norm(np.ptp(np.argwhere(stroke) * spacing, axis=0)))


def half_thickness_of(organ: Mask, spacing: Spacing3) -> float:
    """Millimetres from an organ's border to its deepest voxel, 0 where there is none; `organ` (z, y, x)."""
    return float(ndimage.distance_transform_edt(organ, sampling=spacing).max(initial=0))


@dataclass(frozen=True)
class Surroundings:
    """What a stroke's reach depends on; all arrays (z, y, x), `spacing` (z, y, x) mm.

    `share`: of each voxel that has the stroke's label already. `wrong_share`: that has a label which the stroke
    contradicts, `into_organ` where most of the stroke contradicts an organ's. `of_organ`: the stroke is not one of
    background. `usual_mm3`: as in `neighbourhood.Region`.
    """

    stroke: Mask
    share: Values
    wrong_share: Values
    spacing: Spacing3
    of_organ: bool
    into_organ: bool
    usual_mm3: float | None

    @cached_property
    def half_thickness(self) -> float:
        """Millimetres, of the organ that gains or loses."""
        if self.usual_mm3 is not None:
            return HALF_THICKNESS_OF_RADIUS * _radius_of_ball(self.usual_mm3)
        return half_thickness_of(self._thickest > 0.5, self.spacing)

    @cached_property
    def error_depth(self) -> Values:
        """(z, y, x) millimetres to the border of what the stroke contradicts, without end where that is all there is.

        An error may be called several things: its border is where none of them is. Beyond the region nothing is known,
        so its faces are no border.
        """
        wrong = self.wrong_share > 0.5
        if wrong.all():
            return np.full(wrong.shape, np.inf, np.float32)
        padded = np.pad(wrong, 1, constant_values=True)
        depth = ndimage.distance_transform_edt(padded, sampling=self.spacing)
        return np.asarray(depth[1:-1, 1:-1, 1:-1], np.float32)

    def reach(self) -> float:
        """Millimetres from the stroke at which it is e times less probable that a voxel shares its error."""
        reach = self._reach_of_extent()
        # The middle of an error is as far from its border with other labels, which are known, as from the one that is
        # not.
        half_thickness = float(np.median(self.error_depth[self.stroke]))
        least = LEAST_REACH_INTO_BACKGROUND_MM
        if self.into_organ:
            least = LEAST_REACH_INTO_ORGAN_MM
        return min(reach, max(REACH_OF_ERROR * half_thickness, least))

    @property
    def _thickest(self) -> Values:
        # Background has no thickness: the organ that loses has.
        if self.of_organ:
            return self.share
        return self.wrong_share

    def _reach_of_extent(self) -> float:
        extent = extent_of(self.stroke, self.spacing)
        if self.usual_mm3 is not None:
            return self._reach_of_missing(extent, self.usual_mm3)
        if self.of_organ and self._is_small(self.share > 0.5):
            return min(max(REACH_OF_EXTENT_MISSING * extent, SHORTEST_REACH_MM), LONGEST_REACH_MISSING_MM)
        share = REACH_OF_EXTENT if self.of_organ else REACH_OF_EXTENT_BACKGROUND
        reach = min(max(share * extent, SHORTEST_REACH_MM), LONGEST_REACH_MM)
        # A thin organ's errors are thin: without this a stroke on an adrenal gland leaks into the muscle beside it.
        if self._is_small(self._thickest > 0.5):
            return reach
        return min(reach, max(REACH_OF_THICKNESS * self.half_thickness, LEAST_REACH_MM))

    def _reach_of_missing(self, extent: float, usual_mm3: float) -> float:
        """Of a stroke in an organ of which there is a fragment: its thickness says nothing, the usual size does."""
        reach = min(REACH_OF_EXTENT_MISSING * extent, REACH_OF_USUAL_RADIUS * _radius_of_ball(usual_mm3))
        return min(max(reach, SHORTEST_REACH_MM), LONGEST_REACH_MISSING_MM)

    def _is_small(self, organ: Mask) -> bool:
        """Whether there is too little of an organ in the region to go by."""
        return int(organ.sum()) * float(np.prod(self.spacing)) < LEAST_ORGAN_MM3


def _radius_of_ball(mm3: float) -> float:
    return float((3 * mm3 / (4 * np.pi)) ** (1 / 3))
