"""Paints a plausible CT round and inside the organs of a label map, differently at every draw.

Training data by domain randomisation: the labels are exact, contrast phase, body, contents, noise and scanner vary.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..imaging.volume import Volume
from ..organs import WORD16, LabelSpace
from .anatomy import Body, paint_body, paint_lungs
from .bones import paint_skeleton, paint_vessels
from .canvas import Canvas, Field
from .landmarks import find_landmarks
from .textures import paint_organs
from .tissues import draw_palette

# What pushes the diaphragm up: large enough and right under it. A region of the body says neither.
UNDER_DIAPHRAGM = ("liver", "spleen", "stomach", "left_kidney", "right_kidney", "colon")


def synthesise_ct(labels: Volume, rng: np.random.Generator, label_space: LabelSpace = WORD16,
                  phase: str | None = None, padding: bool | None = None) -> Volume:
    """A CT (int16 HU) on the grid of `labels`, which holds organ indices of `label_space` and 0 elsewhere.

    `phase`: plain, arterial, portal or delayed (drawn if None). `padding`: whether the corners outside the scanner's
    circle hold a padding value (drawn if None). The same labels and generator state give the same CT. Work is done at
    the grid's own resolution and in its nearest patient axes, so resample the labels first.
    """
    order = labels.grid.axis_order()
    canonical = labels.canonical()
    array = np.ascontiguousarray(canonical.array).astype(np.int16)
    step_x, step_y, step_z = canonical.grid.spacing
    spacing = (float(step_z), float(step_y), float(step_x))
    names = {organ.index: organ.name for organ in label_space.organs}

    marks = find_landmarks(array, spacing, names, rng)
    canvas = Canvas(array.shape, spacing, marks.origin, rng)
    palette = draw_palette(rng, phase)
    # From what lies behind to what lies in front: each layer paints over the ones before it, the organs last.
    body = paint_body(canvas, array, marks, palette)
    under = tuple(value for value, name in names.items() if name in UNDER_DIAPHRAGM)
    paint_lungs(canvas, array, marks, body, palette, under)
    paint_vessels(canvas, array, marks, body, palette)
    paint_skeleton(canvas, marks, body, palette)
    canvas.hu[~body.skin] = -1000.0
    paint_organs(canvas, array, names, marks, palette)
    _surroundings(canvas, body)
    if padding is None:
        padding = bool(rng.random() < 0.3)
    hu = _acquire(canvas, body, padding)
    return Volume(np.ascontiguousarray(order.from_canonical(hu)), labels.grid)


def _surroundings(canvas: Canvas, body: Body) -> None:
    """Table and, sometimes, arms beside the trunk."""
    rng = canvas.rng
    shown = np.flatnonzero(body.skin.any(axis=(0, 2)))
    if not len(shown):
        return
    back = canvas.y.ravel()[shown[-1]]
    if rng.random() < 0.7:
        hollow = rng.uniform(0, 0.0012)
        gap = canvas.y - (back + rng.uniform(2, 25)) + hollow * canvas.x ** 2
        thick = rng.uniform(2, 8)
        plate = (np.abs(gap) < thick) & (np.abs(canvas.x) < rng.uniform(180, 260)) & ~body.skin
        core = plate & (np.abs(gap) < thick - 2)
        canvas.hu[plate] = rng.uniform(-500, 150)
        canvas.hu[core] = rng.uniform(-950, -700)
    if rng.random() < 0.2:
        sides = np.flatnonzero(body.skin.any(axis=(0, 1)))
        edge = np.abs(canvas.x.ravel()[sides]).max() + rng.uniform(5, 20)
        for side in (1, -1):
            radius = rng.uniform(32, 45)
            at = side * (edge + radius)
            y = body.muscle_outline.back.mean() - rng.uniform(40, 110)
            ratio = np.hypot(canvas.x - at, canvas.y - y) / radius + np.zeros_like(canvas.z)
            air = ~body.skin
            for limit, value in ((1.0, -100.0), (0.8, 50.0), (0.3, 900.0), (0.17, 0.0)):
                canvas.hu[(ratio < limit) & air] = value


def _acquire(canvas: Canvas, body: Body, padding: bool) -> npt.NDArray[np.int16]:
    """The scanner: partial volume, slice thickness, shading, streaks between the hips, correlated noise, padding."""
    rng = canvas.rng
    hu: Field = np.clip(canvas.hu, -1024, 2500)
    spacing = np.array(canvas.spacing)
    width = np.array([rng.uniform(0.6, 1.3), *(rng.uniform(0.5, 1.1),) * 2]) / spacing
    thickness = rng.choice([1.0, 2.5, 5.0, 8.0], p=[0.25, 0.3, 0.35, 0.1])
    width[0] = np.hypot(width[0], 0.35 * thickness / spacing[0])
    hu = ndimage.gaussian_filter(hu, np.minimum(width, 2.5), truncate=2.5)

    hu += rng.normal(0, 3) + rng.uniform(0, 5) * canvas.noise(150.0) * (hu > -500)
    # White noise through the kernel of the reconstruction, as strong as the drawn level whatever the kernel.
    level = rng.gamma(2.5, 4.5) + 1.5
    grain = rng.standard_normal(hu.shape, dtype=np.float32)
    smooth = np.array([0.4 * rng.random(), *(rng.uniform(0.35, 1.1) * 1.5,) * 2]) / np.minimum(spacing, 2.0)
    grain = ndimage.gaussian_filter(grain, smooth, truncate=2.5)
    grain *= level / max(float(grain.std()), 1e-3)
    dense = np.clip((hu > 250).sum(axis=2, keepdims=True) * spacing[2] / 60.0, 0, 1.5)  # photons die along x
    inside = ndimage.uniform_filter(body.skin.astype(np.float32), (1, 3, 3))
    hu += grain * (0.35 + 0.65 * inside) * (0.85 + 0.5 * dense)
    # Between dense bones whole rows of the picture are off by the same amount.
    streak = rng.normal(0, rng.uniform(0, 12), dense.shape).astype(np.float32)
    hu += streak * dense * inside
    if rng.random() < 0.5:
        hu = np.maximum(hu, -1024)
    if padding:
        reach = rng.uniform(0.47, 0.53) * max(canvas.shape[1] * spacing[1], canvas.shape[2] * spacing[2])
        away = np.hypot(canvas.y[0] - canvas.y.mean(), canvas.x[0] - canvas.x.mean())
        hu[:, away > reach] = rng.choice([-1024.0, -2048.0, -3024.0])
    stored: npt.NDArray[np.int16] = np.clip(np.round(hu), -3024, 3071).astype(np.int16)
    return stored
