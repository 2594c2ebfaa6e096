"""The sixteen organs of the phantom as tubes and superellipsoids, laid out as in WORD's label maps.

All positions are (z, y, x) mm from the label box centre; z to superior, y to posterior, x to the patient's left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from .canvas import Canvas, Field

Point: TypeAlias = tuple[float, float, float]

REACH = 1.8  # shapes are drawn up to this multiple of their radii, so that a volume can be met by growing them


@dataclass
class Shape:
    """A union of tubes ((n, 3) points, (n,) radii) and superellipsoids (centre, radii, exponent)."""

    tubes: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    ellipsoids: list[tuple[np.ndarray, np.ndarray, float]] = field(default_factory=list)

    def ratio(self, canvas: Canvas) -> Field:
        """(z, y, x) distance to the middle over the radius: 1 on the surface, infinite beyond REACH radii."""
        field_: Field = np.full(canvas.shape, np.inf, np.float32)
        for points, radii in self.tubes:
            for k in range(len(points) - 1):
                region, ratio = canvas.segment(points[k], points[k + 1], (radii[k] * REACH, radii[k + 1] * REACH))
                field_[region] = np.minimum(field_[region], ratio * REACH)
        for centre, radii, exponent in self.ellipsoids:
            region, value = canvas.ellipsoid(centre, np.asarray(radii) * REACH, exponent)
            field_[region] = np.minimum(field_[region], value ** (1 / exponent) * REACH)
        return field_

    def moved(self, scale: np.ndarray, shift: np.ndarray) -> Shape:
        """The shape with its positions scaled about the origin and shifted; radii stay."""
        return Shape([(points * scale + shift, radii) for points, radii in self.tubes],
                     [(centre * scale + shift, radii, exponent) for centre, radii, exponent in self.ellipsoids])


def organ_shapes(rng: np.random.Generator) -> dict[str, Shape]:
    """A random set of organ shapes in order of precedence: where two overlap the earlier one keeps the voxels."""
    return {
        "adrenal": _adrenals(rng),
        "gallbladder": _tube(rng, [(106, -24, -58), (96, -34, -68), (84, -44, -74)], [5, 11, 13], 3),
        "pancreas": _tube(rng, [(66, -8, -22), (82, -8, -22), (90, -19, -4), (97, -14, 22), (106, 8, 48),
                                (114, 20, 64)], [10, 13, 8, 9, 9, 7], 3),
        "duodenum": _tube(rng, [(88, -30, -24), (86, -16, -38), (62, -2, -46), (38, 2, -42), (28, 2, -14), (34, 0, 12),
                                (54, -12, 22)], [11, 11, 12, 12, 11, 10, 10], 3),
        "left_kidney": _ellipsoid(rng, (73, 42, 64), (51, 25, 29), 2.2),
        "right_kidney": _ellipsoid(rng, (66, 43, -59), (50, 26, 28), 2.2),
        "head_of_left_femur": _femur(rng, 1),
        "head_of_right_femur": _femur(rng, -1),
        "esophagus": _tube(rng, [(228, 24, 4), (198, 16, 8), (176, 8, 16), (164, 4, 24)], [7, 7.5, 7.5, 8], 2),
        "rectum": _tube(rng, [(-122, 52, 4), (-140, 62, -3), (-165, 64, 3), (-190, 58, 0), (-216, 46, 0)],
                        [12, 14, 15, 14, 9], 3),
        "bladder": _ellipsoid(rng, (-153, -4, 0), (33, 42, 50), 2.2),
        "spleen": _ellipsoid(rng, (127, 42, 94), (46, 42, 26), 2.2),
        "stomach": _tube(rng, [(172, 6, 42), (168, 2, 62), (140, -18, 66), (112, -42, 50), (92, -52, 20),
                               (88, -38, -14)], [22, 32, 31, 26, 20, 11], 4),
        "liver": Shape(ellipsoids=[
            (rng.normal([130, 4, -78], 4), np.array([78, 76, 60]) * rng.normal(1, 0.06, 3), 2.3),
            (rng.normal([150, -34, -22], 5), np.array([40, 40, 62]) * rng.normal(1, 0.1, 3), 2.1)]),
        "colon": _colon(rng),
        "intestine": _intestine(rng),
    }


def _tube(rng: np.random.Generator, points: list[Point], radii: list[float], jitter: float) -> Shape:
    moved = np.array(points, float) + rng.normal(0, jitter, (len(points), 3))
    smooth = _smooth(moved, 3)
    widths = np.interp(np.linspace(0, 1, len(smooth)), np.linspace(0, 1, len(radii)), radii)
    return Shape([(smooth, widths * rng.uniform(0.95, 1.05))])


def _ellipsoid(rng: np.random.Generator, centre: Point, radii: Point, exponent: float) -> Shape:
    return Shape(ellipsoids=[(np.array(centre, float) + rng.normal(0, 3, 3),
                              np.array(radii, float) * rng.normal(1, 0.07, 3), exponent + rng.uniform(-0.2, 0.3))])


def _smooth(points: np.ndarray, pieces: int) -> np.ndarray:
    """Catmull-Rom curve through the points, `pieces` segments between two of them."""
    # One more point at either end, straight on, so that the curve runs from the first point to the last.
    ends = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.linspace(0, 1, pieces, endpoint=False)[:, None]
    curve = []
    for a, b, c, d in zip(ends, ends[1:], ends[2:], ends[3:], strict=False):
        curve.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t ** 2
                            + (3 * b - a - 3 * c + d) * t ** 3))
    return np.vstack([*curve, points[-1:]])


def _adrenals(rng: np.random.Generator) -> Shape:
    """Two glands of thin limbs that meet in front: a Y (body and two limbs) on the left, a V on the right."""
    tubes: list[tuple[np.ndarray, np.ndarray]] = []
    for side, apex in ((1, np.array([110.0, 8, 36])), (-1, np.array([112.0, 12, -22]))):
        apex = apex + rng.normal(0, 2.5, 3)
        spread, length = rng.uniform(7, 11), rng.uniform(18, 26)
        for up in np.arange(-14.0, 15.0, 5.0):
            # The last one, the body of the Y, is the left gland's alone.
            limbs = [(0, length, side * spread), (0, length, -side * spread * 0.6), (0, -8.0, -2.0)]
            if side < 0:
                limbs.pop()
            top = apex + np.array([up, 0.25 * up, 0])
            for limb in limbs:
                tubes.append((np.stack([top, top + np.array(limb)]), np.full(2, 2.7)))
    return Shape(tubes)


def _femur(rng: np.random.Generator, side: int) -> Shape:
    """Head, neck and trochanteric part, as WORD's readers drew the head of the femur."""
    head = np.array([-166.0, 16, side * 90]) + rng.normal(0, 2.5, 3)
    turn = rng.uniform(0, 8)
    path = head + np.array([(0, 0, 0), (-14, 2, side * 20), (-26, turn, side * 38), (-50, turn, side * 34)])
    return Shape([(path, np.array([19.0, 14, 17, 15]))], [(head, np.full(3, rng.uniform(22, 25)), 2.0)])


def _colon(rng: np.random.Generator) -> Shape:
    """A frame round the small bowel with haustra: ascending, transverse (sagging), descending, sigmoid."""
    sag = rng.uniform(0, 50)  # mm that the middle of the transverse colon hangs down
    # Caecum, up to the hepatic flexure, across, down from the splenic flexure, and the sigmoid's loop to the rectum.
    points = np.array([
        (-82, -22, -70), (-62, -8, -84), (-20, 6, -94), (28, 16, -96), (58, 2, -88), (60, -34, -70),
        (52 - 0.6 * sag, -62, -36), (46 - sag, -68, 0), (58 - 0.6 * sag, -62, 38), (86, -34, 74), (108, 6, 92),
        (92, 30, 100), (50, 34, 104), (0, 34, 104), (-46, 28, 100), (-84, 12, 86), (-108, -8, 62), (-100, -24, 34),
        (-92, 2, 4), (-104, 28, -18), (-116, 44, -4), (-122, 50, 4)], float)
    points += rng.normal(0, 4, points.shape)
    curve = _smooth(points, 4)
    s = np.linspace(0, 1, len(curve))
    radii = np.interp(s, [0, 0.25, 0.5, 0.75, 1], [23, 21, 18, 14, 13])
    haustra = 1 + 0.14 * np.sin(s * rng.uniform(180, 260) + rng.uniform(0, 6))
    return Shape([(curve, radii * haustra)])


def _intestine(rng: np.random.Generator) -> Shape:
    """Loops that sweep from side to side in two layers, front and back, with random hairpins: a packed coil."""
    points = []
    sweep = 1
    levels = np.arange(62.0, -128.0, -25.0)
    # Down in the front layer, up again in the back one; every sweep starts where the last one ended.
    for back, course in ((-46.0, levels), (-8.0, levels[::-1])):
        for k, level in enumerate(course):
            half = 80 * np.sqrt(max(0.2, 1 - ((level + 20) / 125) ** 2))
            for x in np.linspace(-half, half, 7)[::sweep]:
                wave = 7 * np.sin(x / 14 + k)
                points.append((level + rng.normal(0, 6) + wave, back + rng.normal(0, 7), 8 + x + rng.normal(0, 5)))
            sweep = -sweep
    curve = _smooth(np.array(points), 2)
    return Shape([(curve, 11.0 * (1 + 0.12 * rng.standard_normal(len(curve))).clip(0.7, 1.3))])
