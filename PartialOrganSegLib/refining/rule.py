"""How probable it is that a voxel shares a stroke's error, by a rule that was written by hand.

It falls with the distance from the stroke, the slower the longer the stroke and the thicker the error (`reach`), for
people draw through the middle of what is wrong. What the voxel looks like (`appearance`), and whether edges of the CT
lie between it and the stroke (`basins`), is weighed against that by Bayes' rule. Earlier strokes of the label that the
labels contradicted point at the same error, so their surroundings stay in question.

Every number here and in `reach` was chosen by Testing/benchmarks/refine.py on three CTs, or five, whose figures are
reported apart.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ..imaging.shapes import Mask
from .appearance import Appearance
from .basins import LEAST_LENGTH, basin, core
from .coarse import Values
from .neighbourhood import Neighbourhood

AWAY = 0.5  # reaches from a stroke: nearer, labels in question are no sample of what they say
# What a basin says for and against, less of a thin organ: at the working spacing an adrenal gland is all border.
BASIN_LOG_ODDS = 1.0
THIN_MM, THICK_MM = 6.0, 12.0  # half thicknesses at which it says nothing, and all of it
# A stroke may be short for its error. Where no edge lies between, so much of the distance does not count, less where an
# organ that gains or loses is thin enough to leak from.
ENCLOSED_SHORTER = 0.6
SOLID_MM, MASSIVE_MM = 12.0, 20.0  # half thicknesses at which none of it counts less, and all
# What the labels say so far from a stroke, the farther of both, is true to the watershed. Nearer, a thick error would
# be its own rival.
KNOWN_BEYOND_MM, KNOWN_BEYOND_REACHES = 25.0, 2.0
OTHER_CORE_MM = 4.0  # a label that is not in question is believed so far from its border
ORGAN_SHARE = 0.5  # of the organ's own look, beside that of the stroke
# Up to this far apart, strokes of one label point at the same error. A reach by their joint extent, or one that grows
# with their number, made it worse (.001 to .007 of Dice).
SAME_ERROR_MM = 40.0


class Rule:
    """What it finds on the way is evidence of its own (`evidence`); all arrays (z, y, x), lengths in mm."""

    def __init__(self, place: Neighbourhood) -> None:
        self._place = place
        self.reach = place.surroundings.reach()
        near = place.earlier & (place.distance < SAME_ERROR_MM)
        self._distance = place.distance_from(place.stroke | near) if near.any() else place.distance

    @cached_property
    def probability(self) -> Values:
        """Of each voxel, that it shares the error."""
        # At the stroke the looks decide alone; far from it they would have to be beyond doubt.
        shared = (1 - self._trust) / 2
        for_error, against = shared * self.likeness, (1 - shared) * (1 - self.likeness)
        for_error *= self._basin_odds()
        return np.asarray(for_error / np.maximum(for_error + against, 1e-9), np.float32)

    @cached_property
    def _trust(self) -> Values:
        """In what the labels say, 0 at the stroke and 1 far from it."""
        return np.asarray(1 - np.exp(-np.square(self._nearer() / self.reach)), np.float32)

    @cached_property
    def enclosed(self) -> Mask | None:
        """What the CT's edges enclose together with the stroke; None where they are not asked."""
        place = self._place
        if place.surroundings.half_thickness <= THIN_MM or min(place.hu.shape) < LEAST_LENGTH:
            return None
        has_label = place.share > 0.5
        beyond = max(KNOWN_BEYOND_MM, KNOWN_BEYOND_REACHES * self.reach)
        outside = core(~has_label, place.spacing) & (self._distance > beyond)
        # Labels that no stroke contradicts cannot change, but their borders may be as wrong as those that can.
        other = np.asarray((place.in_question == 0) & ~has_label)
        outside |= place.excluded | core(other, place.spacing, OTHER_CORE_MM)
        inside = (core(has_label, place.spacing) & ~outside) | place.drawn
        return basin(place.hu, place.spacing, inside, outside)

    def _basin_odds(self) -> Values | float:
        """The odds of the stroke's label by where the CT's edges lie, or 1 for all voxels."""
        if self.enclosed is None:
            return 1.0
        weight = BASIN_LOG_ODDS * between(THIN_MM, THICK_MM, self._place.surroundings.half_thickness)
        return np.where(self.enclosed, np.float32(np.exp(weight)), np.float32(np.exp(-weight)))

    def _nearer(self) -> Values:
        """Millimetres from the stroke, fewer where no edge lies between."""
        massive = between(SOLID_MM, MASSIVE_MM, self._place.surroundings.half_thickness)
        if self.enclosed is None or massive == 0:
            return self._distance
        shorter = np.full(self._distance.shape, ENCLOSED_SHORTER * massive, np.float32)
        for loser, half_thickness in self._place.losers:
            # What is called a thin organ is a thin error at most.
            shorter[loser] = ENCLOSED_SHORTER * min(massive, between(SOLID_MM, MASSIVE_MM, half_thickness))
        return np.where(self.enclosed, (1 - shorter) * self._distance, self._distance)

    @cached_property
    def likeness(self) -> Values:
        """What the looks say: the stroke's, and those of the same organ, against the labels in question away from it.

        Labels that no stroke contradicts do not compete here: a spleen that was missed looks like the liver beside it.
        """
        place = self._place
        appearance = Appearance(place.hu, place.spacing)
        # Earlier strokes of the label count too, unless they are far away: contrast differs within an organ.
        drawn = appearance.density(_float(place.drawn & (self._distance < 2 * self.reach)))
        organ = place.share > 0.5
        if place.of_organ and int(organ.sum()) > 50:
            drawn = (1 - ORGAN_SHARE) * drawn + ORGAN_SHARE * appearance.density(_float(organ))
        away = _float((place.share < 0.5) & (self._distance > self.reach * AWAY))
        around = appearance.density(self._trust * place.in_question * away)
        return appearance.likeness(drawn, around)


def between(low: float, high: float, value: float) -> float:
    """0 at `low` and below, 1 at `high` and above, in between in proportion."""
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _float(mask: Mask) -> Values:
    return mask.astype(np.float32)
