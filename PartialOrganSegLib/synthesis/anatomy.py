"""The body round the organs: skin, fat, muscle, abdominal cavity, legs, lungs and heart. All of it is background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .canvas import Canvas, Field, Mask
from .landmarks import Landmarks
from .tissues import Palette

# One number a slice (z,), in mm.
Profile: TypeAlias = npt.NDArray[np.floating]


@dataclass
class Outline:
    """One closed outline a slice, a superellipse: (z,) half width, front y and back y in mm."""

    width: Profile
    front: Profile
    back: Profile
    exponent: float = 2.4

    def value(self, canvas: Canvas) -> Field:
        """(z, y, x) float32, below 1 inside; its logarithm grows outwards."""
        middle, half = (self.front + self.back) / 2, np.maximum((self.back - self.front) / 2, 1.0)
        width = np.maximum(self.width, 1.0)
        x: Field = np.abs(canvas.x / width[:, None, None].astype(np.float32))
        y: Field = np.abs((canvas.y - middle[:, None, None].astype(np.float32))
                          / half[:, None, None].astype(np.float32))
        value: Field = np.power(x, self.exponent) + np.power(y, self.exponent)
        return value

    def grown(self, side: Profile | float, front: Profile | float, back: Profile | float) -> Outline:
        """The outline moved outwards by mm on its sides, front and back."""
        return Outline(self.width + side, self.front - front, self.back + back, self.exponent)


@dataclass
class Body:
    """Masks (z, y, x) of what lies round the organs, and the outlines they came from."""

    skin: Mask
    inner: Mask     # inside the subcutaneous fat: muscle, bone, cavity
    cavity: Mask    # visceral fat and whatever lies in it
    cavity_outline: Outline
    muscle_outline: Outline


def paint_body(canvas: Canvas, labels: np.ndarray, marks: Landmarks, palette: Palette) -> Body:
    """Skin, subcutaneous fat, muscle ring and visceral fat of trunk and legs on an empty canvas."""
    rng = canvas.rng
    z = canvas.z.ravel()
    head_z = (marks.heads["left"][0] + marks.heads["right"][0]) / 2
    head_y = (marks.heads["left"][1] + marks.heads["right"][1]) / 2
    hip = (marks.heads["left"][2] - marks.heads["right"][2]) / 2
    up = z - head_z  # mm above the hips, which all profiles below are given by
    cavity = _cavity(canvas, labels, marks, up, hip, head_y)

    wall, back = rng.uniform(6, 17), rng.uniform(0.85, 1.2)
    muscle = cavity.grown(wall, rng.uniform(4, 11), 0.0)
    muscle.width = np.maximum(muscle.width, np.interp(up, [-60, 0, 35, 90, 130],
                                                      [hip + 40, hip + 46, hip + 42, hip + 45, 0]))
    muscle.front = np.minimum(muscle.front, np.interp(up, [-60, 0, 60, 100], [head_y - 50, head_y - 52, 1e3, 1e3]))
    behind = np.interp(up, [0, 60, 110], [26, 34, 54]) * back  # erector muscles and spinous processes
    muscle.back = np.maximum(muscle.back + 4, marks.spine_y + behind)
    muscle.back = ndimage.gaussian_filter1d(muscle.back, max(0.5, 25 / canvas.spacing[0]), mode="nearest")
    muscle.exponent = rng.uniform(2.1, 2.7)

    # From thin to obese: most people in the middle, a long tail to the heavy side.
    plump = rng.gamma(2.2, 7.0) + 3.0
    sides, belly, rear = (plump * rng.uniform(0.6, 1.4) for _ in range(3))
    skin = muscle.grown(sides, belly, rear)

    ripple = canvas.noise(60.0) * rng.uniform(0.01, 0.05)
    inside = {"skin": skin.value(canvas) + ripple < 1, "inner": muscle.value(canvas) + ripple * 1.5 < 1}
    lower = np.flatnonzero(up < -20)
    if len(lower):
        _legs(canvas, inside, slice(0, lower[-1] + 1), head_y, hip, up, plump)
    cavity_mask = (cavity.value(canvas) + ripple < 1) & inside["inner"]
    # An organ that the outline cuts would lie in air: the skin goes round it, down to the groin.
    inside["skin"] |= ndimage.binary_dilation(labels > 0, iterations=2) & (up > -70)[:, None, None]
    fine = canvas.noise(rng.uniform(5, 9))
    hu = canvas.hu
    hu[inside["skin"]] = palette.fat
    rind = inside["skin"] & ~ndimage.binary_erosion(inside["skin"], np.ones((1, 3, 3)), border_value=1)
    hu[rind] = rng.uniform(-40, 30)
    ring = inside["inner"] & ~cavity_mask
    septa = np.abs(canvas.noise(rng.uniform(14, 26))) < rng.uniform(0.08, 0.4)
    hu[ring] = palette.muscle + 4 * fine[ring]
    streaks = ring & septa
    hu[streaks] = palette.muscle + rng.uniform(0.3, 0.9) * (palette.fat - palette.muscle)
    hu[cavity_mask] = palette.fat + 5 * fine[cavity_mask]
    return Body(inside["skin"], inside["inner"], cavity_mask, cavity, muscle)


def _cavity(canvas: Canvas, labels: np.ndarray, marks: Landmarks, up: np.ndarray, hip: float,
            head_y: float) -> Outline:
    """The outline of abdomen, thorax and pelvic basin: a usual one, blown up until it holds the organs."""
    rng = canvas.rng
    y, x = canvas.y.ravel(), canvas.x.ravel()
    girth = rng.uniform(0.92, 1.05)
    width = np.interp(up, [-45, -20, 10, 45, 80, 120, 200], [18, 38, hip - 38, hip - 30, 92, 112, 122]) * girth
    front = np.interp(up, [-45, 0, 60, 120, 300], [head_y - 20, head_y - 48, -78, -85, -92])
    back = np.interp(up, [-40, 0, 45, 90, 130, 230, 330],
                     [head_y + 38, head_y + 52, marks.heads["left"][1] + 62, 70, 62, 70, 82])
    organs: Mask = labels > 0
    for side in marks.heads.values():  # femoral heads lie outside the basin
        region, ratio = canvas.ellipsoid(side + np.array([-15.0, 5.0, np.sign(side[2]) * 18]),
                                         np.array([75.0, 60.0, 55.0]))
        organs[region] &= ratio >= 1
    sz = canvas.spacing[0]

    def fitted(extent: Profile, usual: Profile, widest: Callable[[Profile, int], Profile]) -> Profile:
        """The organs' extent in slices with organs and the usual one elsewhere, smoothed outwards."""
        if not with_organs.any():
            return usual
        window = max(1, round(45 / sz))
        spread = widest(np.where(with_organs, extent, usual), window)
        smooth: Profile = ndimage.gaussian_filter1d(spread, max(0.5, 14 / sz), mode="nearest")
        return smooth

    across: Mask = np.any(organs, axis=1)
    along: Mask = np.any(organs, axis=2)
    with_organs: Mask = np.any(across, axis=1)
    reach = np.where(across, np.abs(x), 0).max(axis=1)
    nearest = np.where(along, y, 1e4).min(axis=1)
    farthest = np.where(along, y, -1e4).max(axis=1)
    high, low = ndimage.maximum_filter1d, ndimage.minimum_filter1d
    width = fitted(np.maximum(reach + 3, width * 0.85), width, high)
    front = fitted(np.minimum(nearest - 3, front * 0.7), front, low)
    back = fitted(np.maximum(farthest + 3, back * 0.9), back, high)
    outline = Outline(width, front, back, rng.uniform(2.3, 2.8))
    # A superellipse that holds the extents still cuts organs at its corners: it is blown up as far as they stick out.
    beyond = np.where(organs, outline.value(canvas), 0).max(axis=(1, 2))
    factor = np.maximum(beyond, 1.0) ** (1 / outline.exponent)
    factor = ndimage.gaussian_filter1d(high(factor, max(1, round(30 / sz))), max(0.5, 10 / sz), mode="nearest")
    middle, half = (outline.front + outline.back) / 2, (outline.back - outline.front) / 2
    return Outline(width * factor, middle - half * factor, middle + half * factor, outline.exponent)


def _legs(canvas: Canvas, inside: dict[str, np.ndarray], low: slice, head_y: float, hip: float, up: np.ndarray,
          plump: float) -> None:
    """Joins two thighs to the trunk's outline at the hips and leaves only them below the groin."""
    rng = canvas.rng
    half = (hip + 44) / 2
    middle = np.interp(up[low], [-200, -60], [half * 0.95 + 8, half + 4])[:, None, None]
    muscle = np.interp(up[low], [-250, -60], [half * 0.75, half])[:, None, None]
    radius = muscle + plump * 0.7 + 3
    y = canvas.y - (head_y + rng.uniform(5, 18))
    ratio = np.sqrt((np.abs(canvas.x) - middle) ** 2 + (y * rng.uniform(0.88, 1.0)) ** 2) / radius
    below = (up[low] < -75)[:, None, None]
    inside["skin"][low] = (inside["skin"][low] & ~below) | (ratio < 1)
    inside["inner"][low] = (inside["inner"][low] & ~below) | (ratio < muscle / radius)


def paint_lungs(canvas: Canvas, labels: np.ndarray, marks: Landmarks, body: Body, palette: Palette,
                under: tuple[int, ...]) -> None:
    """Lungs above a diaphragm that drapes over the organs `under` it (label values), with heart and lung vessels."""
    rng = canvas.rng
    organs = np.isin(labels, under)
    z = canvas.z.ravel()
    columns = organs.any(axis=0)
    if z[-1] < marks.dome - 60 or not (columns.any() or z[0] > marks.dome):
        return
    top = np.where(columns, z[len(z) - 1 - np.argmax(organs[::-1], axis=0)], -1e4)
    # Every organ column pulls the diaphragm up around it; on a grid of 8 mm that is a small table of all pairs.
    step = [max(1, round(8 / s)) for s in canvas.spacing[1:]]
    coarse = ndimage.maximum_filter(top, size=step)[::step[0], ::step[1]]
    y, x = canvas.y.ravel()[::step[0]], canvas.x.ravel()[::step[1]]
    yy, xx = (a.ravel() for a in np.meshgrid(y, x, indexing="ij"))
    over_organ = coarse.ravel() > -1e4
    if over_organ.any():
        apart = (yy[:, None] - yy[None, over_organ]) ** 2 + (xx[:, None] - xx[None, over_organ]) ** 2
        drape = (coarse.ravel()[None, over_organ] - apart / rng.uniform(18, 40)).max(axis=1)
    else:
        drape = np.full(yy.shape, marks.dome)
    drape = np.maximum(drape, marks.dome - rng.uniform(70, 120)).reshape(coarse.shape)
    drape = ndimage.gaussian_filter(drape, 0.7)
    floor = np.repeat(np.repeat(drape, step[0], 0), step[1], 1)[:canvas.shape[1], :canvas.shape[2]]
    floor = ndimage.gaussian_filter(floor, step) + rng.uniform(3, 7)

    chest = body.cavity & (canvas.z > floor[None])
    spine = marks.spine_y[:, None, None].astype(np.float32)
    centre = np.abs(canvas.x) < rng.uniform(18, 30) + 8 * np.tanh((canvas.z - marks.dome) / 40)
    mediastinum = chest & centre & (canvas.y < spine + 12) & (canvas.y > spine - 150)
    lung = chest & ~mediastinum
    canvas.hu[mediastinum] = palette.fat
    canvas.hu[lung] = palette.lung
    dots = canvas.noise(7.0)
    vessels = lung & (dots > rng.uniform(1.8, 2.4))
    canvas.hu[vessels] = palette.veins - 120
    heart_centre = np.array([marks.dome + rng.uniform(20, 45), marks.spine_y.mean() - rng.uniform(75, 95),
                             rng.uniform(10, 30)])
    region, ratio = canvas.ellipsoid(heart_centre, np.array([50.0, 45.0, 62.0]))
    heart = (ratio < 1) & chest[region]
    canvas.hu[region][heart] = palette.organ["muscle"] * 0.5 + palette.aorta * 0.5
    canvas.hu[region][heart & (ratio < 0.55)] = palette.aorta * 0.85
