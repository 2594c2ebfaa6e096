"""What can be said of each voxel near a stroke, in numbers of about one, for a network to weigh (`judgement`).

They are about the voxel and the stroke, never about where in the body they lie or which organ it is: what was learnt on
some organs holds for others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from ..formats.itk import image_of
from ..imaging.shapes import Mask, Spacing3, shape_of
from ..imaging.volume import Grid, Volume
from .appearance import Appearance
from .basins import EDGE_MM, HIGHEST_HU, LEAST_LENGTH, LOWEST_HU
from .coarse import Values
from .neighbourhood import MARGIN_MM, Neighbourhood
from .reach import extent_of
from .rule import Rule

# Each voxel's own, then those of the stroke, which all voxels have in common. The network's weights name them too.
OF_VOXEL = ("distance", "distance_by_reach", "off_plane", "way", "way_by_reach", "likeness", "likeness_to_stroke",
            "enclosed", "hu", "blurred_hu", "organ_distance", "organ_near", "organ_around", "error_depth", "error_near",
            "known_distance", "other_stroke_distance", "earlier_distance", "gradient", "background", "share_of_stroke",
            "label_thickness")
OF_STROKE = ("extent", "reach", "half_thickness", "of_organ", "into_organ", "stroke_depth", "gaining_volume",
             "losing_volume")
BY_RULE = "by_rule"
NAMES = (*OF_VOXEL, *OF_STROKE, BY_RULE)

Numbers: TypeAlias = npt.NDArray[np.floating[Any]]
"""(z, y, x) a number a voxel."""

LONGEST_WAY_MM = 150.0
EDGE_HU = 12.0  # a mm: a gradient at which a way counts twice
OPEN, SETTLED = 0.25, 0.75  # of a block, what may change at least, and has the label already at most


def candidates(place: Neighbourhood) -> Mask:
    """(z, y, x) the voxels that there is something to say of."""
    return (place.in_question > OPEN) & (place.share < SETTLED) & (place.distance < MARGIN_MM)


def table_of(place: Neighbourhood, rule: Rule, chosen: Mask) -> npt.NDArray[np.float32]:
    """(n, `len(NAMES)`) float32 of the `chosen` voxels (z, y, x), in the order that NumPy takes them out of a mask."""
    table = np.empty((int(chosen.sum()), len(NAMES)), np.float32)
    for number, column in enumerate(_of_voxels(place, rule)):
        table[:, number] = column[chosen]
    table[:, len(OF_VOXEL):-1] = _of_stroke(place, rule)
    table[:, -1] = _logit(rule.probability[chosen])
    return table


def _of_voxels(place: Neighbourhood, rule: Rule) -> Iterator[Numbers]:
    """Arrays (z, y, x), in the order of `OF_VOXEL`."""
    spacing = place.spacing
    organ = place.share > 0.5
    yield place.distance / MARGIN_MM
    yield np.minimum(place.distance / rule.reach, 6) / 3
    yield np.broadcast_to(_off_plane(place) / MARGIN_MM, place.hu.shape)
    gradient = _gradient(place.hu, spacing)
    way = _way_from(place.stroke, gradient, spacing)
    yield way / LONGEST_WAY_MM
    yield np.minimum(way / rule.reach, 12) / 6
    yield _logit(rule.likeness)
    looks = Appearance(place.hu, spacing)
    everywhere = looks.density(np.ones(place.hu.shape, np.float32))
    yield _logit(looks.likeness(looks.density(place.stroke.astype(np.float32)), everywhere))
    if rule.enclosed is None:
        yield np.zeros(place.hu.shape, np.float32)
    else:
        yield np.where(rule.enclosed, np.float32(1), np.float32(-1))
    yield _off(place.hu, place.stroke, 15.0)
    yield _off(_blurred(place.hu, 3.0, spacing), place.stroke, 10.0)
    yield _distance(place, organ) / 30
    yield _blurred(place.share, 4.0, spacing)
    yield _blurred(place.share, 12.0, spacing)
    yield np.minimum(place.surroundings.error_depth, 40) / 20
    yield _blurred(place.wrong_share, 8.0, spacing)
    yield _distance(place, (place.in_question == 0) & ~organ) / 30
    yield _distance(place, place.excluded) / MARGIN_MM
    yield _distance(place, place.earlier) / MARGIN_MM
    yield np.minimum(gradient, 60) / 30
    yield place.background_share
    yield place.share_of_stroke
    yield _label_thickness(place) / 20


def _of_stroke(place: Neighbourhood, rule: Rule) -> list[float]:
    """In the order of `OF_STROKE`."""
    surroundings = place.surroundings
    depth = float(np.median(surroundings.error_depth[place.stroke]))
    return [float(np.log(extent_of(place.stroke, place.spacing) + 3)) - 3, rule.reach / 20,
            min(surroundings.half_thickness, 40) / 20, float(surroundings.of_organ), float(surroundings.into_organ),
            min(depth, 40) / 20, *place.log_volumes]


def _off_plane(place: Neighbourhood) -> Values:
    """Millimetres from the stroke's slices, along the axis in which it is flat; broadcasts to a region."""
    voxels = np.argwhere(place.stroke)
    axis = int((np.ptp(voxels, axis=0) * place.spacing).argmin())
    slices = np.arange(place.hu.shape[axis])
    away = np.abs(slices - slices.clip(voxels[:, axis].min(), voxels[:, axis].max())) * place.spacing[axis]
    along = [1, 1, 1]
    along[axis] = -1
    return np.asarray(away.reshape(along), np.float32)


def _label_thickness(place: Neighbourhood) -> Values:
    """Millimetres, half of what the label has that would be lost; background has no end."""
    thickness = np.full(place.hu.shape, 40, np.float32)
    for organ, half_thickness in place.losers:
        thickness[organ] = min(half_thickness, 40)
    return thickness


def _off(values: Values, stroke: Mask, usual: float) -> Values:
    """How far a voxel's value is off the stroke's, by `usual` and by how much these differ."""
    drawn = values[stroke]
    middle = float(np.median(drawn))
    spread = float(np.median(np.abs(drawn - middle)))
    return np.asarray(((values - middle) / (usual + spread)).clip(-4, 4) / 2, np.float32)


def _logit(probability: Values) -> Values:
    p = probability.clip(1e-3, 1 - 1e-3)
    return np.asarray(np.log(p / (1 - p)) / 3, np.float32)


def _blurred(values: Values, millimetres: float, spacing: Spacing3) -> Values:
    return np.asarray(ndimage.gaussian_filter(values, [millimetres / mm for mm in spacing]), np.float32)


def _distance(place: Neighbourhood, mask: Mask) -> Values:
    """Millimetres, at most those of the margin, which it is where there is no mask."""
    if not mask.any():
        return np.full(mask.shape, MARGIN_MM, np.float32)
    return np.minimum(place.distance_from(mask), MARGIN_MM)


def _gradient(hu: Values, spacing: Spacing3) -> Values:
    """HU a mm; nought in a region too thin for it."""
    if min(hu.shape) < LEAST_LENGTH:
        return np.zeros(hu.shape, np.float32)
    image = _image(hu.clip(LOWEST_HU, HIGHEST_HU), spacing)
    return np.asarray(sitk.GetArrayFromImage(sitk.GradientMagnitudeRecursiveGaussian(image, EDGE_MM)), np.float32)


def _way_from(stroke: Mask, gradient: Values, spacing: Spacing3) -> Values:
    """Millimetres of the shortest way from the stroke, longer across edges: the arrival times of a fast march."""
    march = sitk.FastMarchingImageFilter()
    march.SetStoppingValue(LONGEST_WAY_MM)
    march.SetTrialPoints([place[::-1] for place in np.argwhere(stroke).tolist()])
    speed = 1 / (1 + np.square(gradient / EDGE_HU))
    arrival = sitk.GetArrayFromImage(march.Execute(_image(speed, spacing)))
    return np.asarray(np.minimum(arrival, LONGEST_WAY_MM), np.float32)


def _image(values: Values, spacing: Spacing3) -> sitk.Image:
    (depth, height, width), (z, y, x) = shape_of(values), spacing
    return image_of(Volume(values.astype(np.float32), Grid((width, height, depth), (x, y, z))))
