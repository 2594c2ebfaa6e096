"""What follows from a stroke: from what was drawn to the voxels around it that share the error it points at.

A stroke says "this is L, not what the labels say". How probable it is that a voxel shares this error falls with its
distance, the slower the longer the stroke and the thicker the error (`reach`), for people draw through the middle of
what is wrong. What the voxel looks like (`appearance`), and whether edges of the CT lie between it and the stroke
(`basins`), is weighed against that by Bayes' rule. A random walk (`random_walk`) makes of it one probability of L that
jumps where the CT has an edge. Voxels that were drawn are held. Earlier strokes of L that the labels contradicted point
at the same error, so their surroundings stay in question.

The network has no say here; three ways were measured. Its scores of the whole CT, moved so that what was drawn passes,
gave .01 of Dice more on weak organs. Computed around the stroke alone, as there is time for, they lack the context that
the network needs, and made organs worse. Its last layer fitted to the strokes (pCE, towards the start prediction
elsewhere) gave less than the looks alone. Every number here and in `reach` was chosen by Testing/benchmarks/refine.py
on three CTs, or five, whose figures are reported apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..imaging.components import NEIGHBOURS
from ..imaging.shapes import LabelMap, Mask, Shape3, Spacing3, VoxelArray, shape_of
from .appearance import HIGHEST_HU, LOWEST_HU, Appearance
from .basins import LEAST_LENGTH, basin, core
from .coarse import Values, block_means, block_sizes, interpolated
from .random_walk import edge_weights, random_walk
from .reach import Surroundings, half_thickness_of

NOT_DRAWN = 255
WORKING_MM = 1.6  # a finer CT is averaged in blocks of about this
CONTRAST_HU = 18.0  # a difference between neighbours that begins to count as an edge
PRIOR_WEIGHT = 0.1
AWAY = 0.5  # reaches from a stroke: nearer, labels in question are no sample of what they say
# What a basin says for and against, less of a thin organ: at `WORKING_MM` an adrenal gland is all border.
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
MARGIN_MM = 60.0  # around a stroke: nothing beyond is looked at or changed


@dataclass(frozen=True)
class Region:
    """The part of a CT around a stroke, all (z, y, x): `hu`, `labels`, `drawn` (`NOT_DRAWN` where nothing is).

    `changeable`: voxels whose label may change. `spacing` (z, y, x) mm. `earlier`: voxels that were drawn before in the
    stroke's label where the labels had another one. `usual_mm3`: the usual volume of the stroke's organ if the whole CT
    has a fragment of it at most, otherwise None.
    """

    hu: VoxelArray
    labels: LabelMap
    drawn: LabelMap
    changeable: Mask
    spacing: Spacing3
    earlier: Mask | None = None
    usual_mm3: float | None = None


def spread(region: Region, stroke: Mask, value: int, keep_on: Callable[[], None] = lambda: None) -> Mask:
    """(z, y, x) voxels that become `value` because of a stroke of that label; connected with it, the stroke included.

    `stroke`: its voxels whose label is another one; there is at least one. `keep_on` is called now and then and may
    raise to end the work.
    """
    block = block_sizes(region.spacing, WORKING_MM)
    z, y, x = (mm * length for mm, length in zip(region.spacing, block, strict=True))
    coarse = _Coarse(region, stroke, value, block, (z, y, x))
    keep_on()
    probability = coarse.probability(keep_on)
    # Labels are not interpolated, the probability is: borders keep the CT's own resolution. What may not change is left
    # out here and not before: held at what it is called, it would keep a correction away from a border that is wrong.
    fine = interpolated(probability, block, shape_of(region.labels))
    gained = (fine > 0.5) & (region.labels != value) & region.changeable
    gained &= (region.drawn == NOT_DRAWN) | (region.drawn == value)
    gained |= stroke
    # What looks alike beyond a gap is another structure.
    parts, _ = ndimage.label(gained, NEIGHBOURS)
    return np.isin(parts, np.unique(parts[stroke]))


class _Coarse:
    """A region at working spacing, where the probability is computed."""

    def __init__(self, region: Region, stroke: Mask, value: int, block: Shape3, spacing: Spacing3) -> None:
        self.spacing = spacing
        self.hu = block_means(region.hu.clip(LOWEST_HU, HIGHEST_HU), block)
        self.share = block_means(region.labels == value, block)  # of a block that has the label already
        self.drawn = block_means(region.drawn == value, block) > 0
        self.excluded = (block_means((region.drawn != NOT_DRAWN) & (region.drawn != value), block) > 0) & ~self.drawn
        self.in_question = block_means(region.changeable, block)
        organs = set(np.unique(region.labels[region.changeable]).tolist()) - {0, value}
        self.losers = [block_means(region.labels == organ, block) > 0.5 for organ in sorted(organs)]
        self.stroke = block_means(stroke, block) > 0
        self.earlier = np.zeros(self.stroke.shape, bool)
        if region.earlier is not None:
            self.earlier = block_means(region.earlier, block) > 0
        self.of_organ = value > 0
        wrong = int(np.bincount(region.labels[stroke]).argmax())
        wrong_share = block_means(np.isin(region.labels, region.labels[stroke]), block)
        self.surroundings = Surroundings(self.stroke, self.share, wrong_share, spacing, self.of_organ, wrong > 0,
                                         region.usual_mm3)

    def probability(self, keep_on: Callable[[], None]) -> Values:
        """Of the stroke's label."""
        reach = self.surroundings.reach()
        distance = self._distance(self.stroke)
        near = self.earlier & (distance < SAME_ERROR_MM)
        if near.any():
            distance = self._distance(self.stroke | near)
        enclosed = self._enclosed(distance, reach)
        trust = 1 - np.exp(-np.square(self._nearer(distance, enclosed) / reach))
        # At the stroke the looks decide alone; far from it they would have to be beyond doubt.
        shared = (1 - trust) / 2
        likeness = self._likeness(distance, trust, reach)
        for_error, against = shared * likeness, (1 - shared) * (1 - likeness)
        for_error *= self._basin_odds(enclosed)
        prior = self.share + (1 - self.share) * for_error / np.maximum(for_error + against, 1e-9)
        prior[self.drawn] = 1
        prior[self.excluded] = 0
        weights = edge_weights(self.hu, self.spacing, CONTRAST_HU)
        return random_walk(weights, prior, PRIOR_WEIGHT, self.drawn | self.excluded, keep_on)

    def _distance(self, strokes: Mask) -> Values:
        """Millimetres from the nearest stroke."""
        return np.asarray(ndimage.distance_transform_edt(~strokes, sampling=self.spacing), np.float32)

    def _enclosed(self, distance: Values, reach: float) -> Mask | None:
        """(z, y, x) what the CT's edges enclose together with the stroke; None where they are not asked.

        `distance`: (z, y, x) millimetres from the stroke; `reach`: millimetres.
        """
        if self.surroundings.half_thickness <= THIN_MM or min(self.hu.shape) < LEAST_LENGTH:
            return None
        has_label = self.share > 0.5
        outside = core(~has_label, self.spacing) & (distance > max(KNOWN_BEYOND_MM, KNOWN_BEYOND_REACHES * reach))
        # Labels that no stroke contradicts cannot change, but their borders may be as wrong as those that can.
        other = np.asarray((self.in_question == 0) & ~has_label)
        outside |= self.excluded | core(other, self.spacing, OTHER_CORE_MM)
        inside = (core(has_label, self.spacing) & ~outside) | self.drawn
        return basin(self.hu, self.spacing, inside, outside)

    def _basin_odds(self, enclosed: Mask | None) -> Values | float:
        """(z, y, x), or 1 for all of them: the odds of the stroke's label by where the CT's edges lie."""
        if enclosed is None:
            return 1.0
        weight = BASIN_LOG_ODDS * _between(THIN_MM, THICK_MM, self.surroundings.half_thickness)
        return np.where(enclosed, np.float32(np.exp(weight)), np.float32(np.exp(-weight)))

    def _nearer(self, distance: Values, enclosed: Mask | None) -> Values:
        """(z, y, x) millimetres from the stroke, fewer where no edge lies between."""
        massive = _between(SOLID_MM, MASSIVE_MM, self.surroundings.half_thickness)
        if enclosed is None or massive == 0:
            return distance
        shorter = np.full(distance.shape, ENCLOSED_SHORTER * massive, np.float32)
        for loser in self.losers:
            # What is called a thin organ is a thin error at most.
            thickness = half_thickness_of(loser, self.spacing)
            shorter[loser] = ENCLOSED_SHORTER * min(massive, _between(SOLID_MM, MASSIVE_MM, thickness))
        return np.where(enclosed, (1 - shorter) * distance, distance)

    def _likeness(self, distance: Values, trust: Values, reach: float) -> Values:
        """What the looks say: the stroke's, and those of the same organ, against the labels in question away from it.

        Labels that no stroke contradicts do not compete here: a spleen that was missed looks like the liver beside it.
        """
        appearance = Appearance(self.hu, self.spacing)
        # Earlier strokes of the label count too, unless they are far away: contrast differs within an organ.
        drawn = appearance.density(_float(self.drawn & (distance < 2 * reach)))
        organ = self.share > 0.5
        if self.of_organ and int(organ.sum()) > 50:
            drawn = (1 - ORGAN_SHARE) * drawn + ORGAN_SHARE * appearance.density(_float(organ))
        away = _float((self.share < 0.5) & (distance > reach * AWAY))
        around = appearance.density(trust * self.in_question * away)
        return appearance.likeness(drawn, around)


def _between(low: float, high: float, value: float) -> float:
    """0 at `low` and below, 1 at `high` and above, in between in proportion."""
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _float(mask: Mask) -> Values:
    return mask.astype(np.float32)
