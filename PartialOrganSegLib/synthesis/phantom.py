"""A procedural abdominal CT with all sixteen organs and exact labels, for demos, tests and benchmarks."""

from __future__ import annotations

import numpy as np

from ..errors import Code, UserError
from ..imaging.volume import Grid, Volume
from ..organ_records import shipped_organs
from ..organs import WORD16
from .canvas import Canvas, Field
from .phantom_shapes import REACH, Shape, organ_shapes
from .synthetic_ct import synthesise_ct

# Grid on which organs are grown to their volume, so that a phantom's anatomy does not depend on the grid asked for.
_FITTING_MM = 3.5
_FITTING_LOW = (-250.0, -125.0, -170.0)
_FITTING_SHAPE = (146, 72, 98)


class _Waves:
    """A smooth random function of position, the same on every grid: roughens the shapes' surfaces."""

    def __init__(self, rng: np.random.Generator, amplitude: float) -> None:
        wavelengths = rng.uniform(35, 110, 6)
        directions = rng.standard_normal((6, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self.vectors = directions * (2 * np.pi / wavelengths)[:, None]
        self.phases = rng.uniform(0, 2 * np.pi, 6)
        self.amplitude = amplitude

    def __call__(self, canvas: Canvas) -> Field:
        total: Field = np.zeros(canvas.shape, np.float32)
        for (kz, ky, kx), phase in zip(self.vectors, self.phases, strict=True):
            # sin(a + b) from its two plane parts: one product a voxel instead of one sine.
            plane = (kz * canvas.z + ky * canvas.y + phase).astype(np.float32)
            row = (kx * canvas.x).astype(np.float32)
            total += np.sin(plane) * np.cos(row) + np.cos(plane) * np.sin(row)
        factor: Field = 1 + self.amplitude * total / np.sqrt(3)
        return factor


def make_phantom(shape_zyx: tuple[int, int, int] = (128, 128, 128),
                 spacing_zyx: tuple[float, float, float] = (3.0, 3.0, 3.0), seed: int = 0,
                 centre_zyx: tuple[float, float, float] = (0.0, 0.0, 0.0), phase: str | None = None,
                 padding: bool = False) -> tuple[Volume, Volume]:
    """A CT (int16 HU) and its labels (uint8, WORD's sixteen organs) of one random patient per `seed`.

    `spacing_zyx` is in mm. `centre_zyx` is the (z, y, x) mm position of the grid's centre from the middle of the
    organs; a grid smaller than the body (about 470 x 250 x 400 mm) shows a part of the same patient. `phase` and
    `padding` are those of `synthesise_ct`. Raises UserError for sizes below 4 voxels or spacings that are not positive.
    """
    if len(shape_zyx) != 3 or min(shape_zyx) < 4:
        raise UserError(code=Code.VALUE_OUT_OF_RANGE, subject="phantom shape",
                        expected="three sizes of at least 4 voxels", found=tuple(shape_zyx))
    if len(spacing_zyx) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_zyx):
        raise UserError(code=Code.VALUE_OUT_OF_RANGE, subject="phantom spacing",
                        expected="three positive numbers in mm", found=tuple(spacing_zyx))
    first = [float(centre - (size - 1) / 2 * step)
             for centre, size, step in zip(centre_zyx, shape_zyx, spacing_zyx, strict=True)]
    size_z, size_y, size_x = (int(size) for size in shape_zyx)
    step_z, step_y, step_x = (float(step) for step in spacing_zyx)
    grid = Grid((size_x, size_y, size_z), (step_x, step_y, step_z), (first[2], first[1], first[0]))
    # Anatomy (below) and image have generators of their own: another phase or grid leaves the patient as he is.
    canvas = Canvas(grid.shape, (step_z, step_y, step_x), (first[0], first[1], first[2]),
                    np.random.default_rng([seed, 0]))
    labels = Volume(_draw_labels(canvas, seed), grid)
    return synthesise_ct(labels, np.random.default_rng([seed, 2]), phase=phase, padding=padding), labels


def _draw_labels(canvas: Canvas, seed: int) -> np.ndarray:
    """(z, y, x) uint8 labels of patient `seed` on a canvas; every voxel belongs to one organ at most."""
    rng = np.random.default_rng([seed, 1])
    shapes, waves = _patient(rng)
    fitting = Canvas(_FITTING_SHAPE, (_FITTING_MM, _FITTING_MM, _FITTING_MM), _FITTING_LOW, rng)
    volumes = {}
    for name in WORD16.names:
        usual = shipped_organs().records[name].usual_ml
        assert usual is not None  # all of WORD's organs are measured
        volumes[name] = np.clip(rng.normal(1, 0.7 * usual.std / usual.mean) * usual.mean, usual.p5, usual.p95)
    rough, roughness = waves(fitting), waves(canvas)
    occupied = np.zeros(fitting.shape, bool)
    labels = np.zeros(canvas.shape, np.uint8)
    for name, shape in shapes.items():
        ratio = shape.ratio(fitting) * rough
        ratio[occupied] = np.inf
        # The shape grows until as many voxels lie in it as the organ's volume has.
        voxel_count = int(volumes[name] * 1000 / _FITTING_MM ** 3)
        limit = min(float(np.partition(ratio.ravel(), voxel_count)[voxel_count]), REACH * 0.9)
        occupied |= ratio < limit
        labels[(shape.ratio(canvas) * roughness < limit) & (labels == 0)] = WORD16.index(name)
    return labels


def _patient(rng: np.random.Generator) -> tuple[dict[str, Shape], _Waves]:
    """One patient's organ shapes, stretched and shifted, and the roughness of their surfaces."""
    scale = rng.normal(1.0, [0.03, 0.05, 0.04])
    return ({name: shape.moved(scale, rng.normal(0, 1.5, 3)) for name, shape in organ_shapes(rng).items()},
            _Waves(rng, 0.05))
