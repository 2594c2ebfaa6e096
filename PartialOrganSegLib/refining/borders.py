"""An organ's border near a stroke, moved to the CT's nearest edge: by a few millimetres, where the CT shows one.

A stroke says that an organ's outline is not to be trusted there. What it points at is corrected by `propagation`; the
outline around it is often off by a voxel or two as well, which nobody would draw. Inside a band on both sides of the
border each voxel is weighed by Bayes' rule: how far it lies on which side, and whether it looks like the organ's inside
or like what surrounds it. A random walk makes of that a border which follows the CT's edges; where there is no edge and
both sides look alike, it becomes a little smoother at most. The organ and background alone trade voxels: no other
organ changes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from ..imaging.shapes import Mask, Spacing3, shape_of
from .appearance import HIGHEST_HU, LOWEST_HU, Appearance
from .coarse import Values, block_means, block_sizes, interpolated
from .neighbourhood import MARGIN_MM, NOT_DRAWN, WORKING_MM, Region, block_diagonal
from .propagation import PRIOR_WEIGHT
from .random_walk import edge_weights, random_walk
from .reach import extent_of

# From a stroke; the border beyond stays. A dab doubts less of an outline than a stroke along it.
NEAR_OF_EXTENT, NEAR_DAB_MM, NEAR_MM = 4.0, 15.0, MARGIN_MM
BAND_MM = 3.0  # the border moves so far at most
WIDTH_MM = 1.5  # how sure the border was
SURROUNDINGS_MM = 12.0  # outside of the border, what the organ is told apart from
LEAST_HALF_THICKNESS_MM = 6.0  # a thinner organ is all border: nothing of it says how its inside looks
LOOK_WEIGHT = 0.7  # neighbours look alike, so they are not as many witnesses as voxels
# A network's border is ragged: only what differs by more than noise and texture does is an edge for it.
EDGE_HU = 50.0
NEVER = 1e-3  # beside probabilities, so that no look decides alone


def at_edges(region: Region, organ: int, stroke: Mask, settled: Mask,
             keep_on: Callable[[], None] = lambda: None) -> Mask:
    """(z, y, x) the organ, its border near the stroke (a mask) moved to where the CT has an edge: within `NEAR_MM`, or
    less where the stroke is short.

    What was drawn stays as it was drawn, and `settled` voxels as they are; those that were looked at become settled: a
    border that were moved with every stroke would wander. `keep_on` is called now and then and may raise to end the
    work.
    """
    before: Mask = region.labels == organ
    block = block_sizes(region.spacing, WORKING_MM)
    z, y, x = (mm * length for mm, length in zip(region.spacing, block, strict=True))
    spacing = (z, y, x)
    share = block_means(before, block)
    depth = _signed_depth(share > 0.5, spacing)
    if depth.max() < LEAST_HALF_THICKNESS_MM:
        return before
    # Behind the stroke's reach nothing is known of how good the outline is.
    near_mm = min(NEAR_DAB_MM + NEAR_OF_EXTENT * extent_of(stroke, region.spacing), NEAR_MM - block_diagonal(spacing))
    near = ndimage.distance_transform_edt(block_means(stroke, block) == 0, sampling=spacing) < near_mm
    band = near & (np.abs(depth) <= BAND_MM)
    other_organs = block_means((region.labels > 0) & ~before, block) > 0
    excluded = block_means((region.drawn != NOT_DRAWN) & (region.drawn != organ), block) > 0
    drawn = block_means(region.drawn == organ, block) > 0
    keep_on()
    hu = block_means(region.hu.clip(LOWEST_HU, HIGHEST_HU), block)
    prior = _prior(Appearance(hu, spacing), depth, other_organs)
    held = ~band | other_organs | (block_means(settled, block) > 0.5)
    prior[held] = share[held]
    prior[excluded] = 0
    prior[drawn] = 1
    weights = edge_weights(hu, spacing, EDGE_HU)
    probability = random_walk(weights, prior, PRIOR_WEIGHT, held | drawn | excluded, keep_on)
    shape = shape_of(before)
    # Labels are not interpolated, the probability is: borders keep the CT's own resolution.
    movable = interpolated(band.astype(np.float32), block, shape) > 0.5
    movable &= (before | (region.labels == 0)) & (region.drawn == NOT_DRAWN) & ~settled
    settled |= movable
    return np.where(movable, interpolated(probability, block, shape) > 0.5, before)


def _prior(looks: Appearance, depth: Values, other_organs: Mask) -> Values:
    """The probability of the organ by Bayes' rule: the side of the border, and the look of its inside and outside."""
    # The band itself is left out of both samples: there it is open what is what.
    inner = looks.density((depth > BAND_MM).astype(np.float32))
    around = (depth < -BAND_MM) & (depth > -SURROUNDINGS_MM) & ~other_organs
    likeness = looks.likeness(inner, looks.density(around.astype(np.float32)))
    odds = LOOK_WEIGHT * np.log((likeness + NEVER) / (1 - likeness + NEVER)) + (depth / WIDTH_MM).clip(-20, 20)
    return np.asarray(1 / (1 + np.exp(-odds)), np.float32)


def _signed_depth(inside: Mask, spacing: Spacing3) -> Values:
    """Millimetres to the border, negative outside."""
    half = min(spacing) / 2  # the border lies between two voxels
    within = ndimage.distance_transform_edt(inside, sampling=spacing) - half
    beyond = ndimage.distance_transform_edt(~inside, sampling=spacing) - half
    return np.asarray(np.where(inside, within, -beyond), np.float32)
