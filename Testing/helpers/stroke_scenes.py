"""A small CT with two tissues that labels have wrong, and strokes on it, for the tests of corrections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16

SHAPE = (24, 48, 56)
SPACING = (4.0, 2.0, 2.0)
SPLEEN, KIDNEY = WORD16.index("spleen"), WORD16.index("left_kidney")
GRID = Grid(SHAPE[::-1], SPACING[::-1], (-50.0, -40.0, 300.0))
FIRST_MIDDLE, SECOND_MIDDLE = (12, 24, 16), (12, 24, 40)
RADIUS_MM = 16.0


def ball(middle: Sequence[int], radius_mm: float = RADIUS_MM) -> np.ndarray:
    """(z, y, x) bool of a ball around a voxel."""
    places = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    squares = [((place - centre) * mm) ** 2 for place, centre, mm in zip(places, middle, SPACING, strict=True)]
    return np.sum(squares, axis=0) <= radius_mm**2


def scene() -> tuple[Volume, np.ndarray]:
    """A CT of two balls of 130 HU in tissue of 40 HU and air, with noise; and its true labels, spleen and kidney."""
    truth = np.zeros(SHAPE, np.uint8)
    truth[ball(FIRST_MIDDLE)], truth[ball(SECOND_MIDDLE)] = SPLEEN, KIDNEY
    # Contrast of 90 HU and noise of 12, as of a portal venous CT of usual dose.
    hu = np.where(truth > 0, 130.0, 40.0) + np.random.default_rng(0).normal(0, 12, SHAPE)
    hu[:, :3] = -1000
    return Volume(hu.round().astype(np.int16), GRID), truth


def stroke_at(middle: Sequence[int], value: int, half_length: int = 5) -> Volume:
    """A map with one stroke along x through a voxel."""
    z, y, x = middle
    drawn = np.full(SHAPE, 255, np.uint8)
    drawn[z, y, x - half_length:x + half_length + 1] = value
    return Volume(drawn, GRID)
