"""A body with three boxes of known HU, sampled on any grid."""

from __future__ import annotations

import numpy as np

from PartialOrganSegLib.imaging.volume import Grid, Volume

LEVELS = {"liver": 200.0, "spleen": 400.0, "left_kidney": 700.0}  # HU of the boxes, from -x to +x


def three_boxes(grid: Grid) -> tuple[Volume, np.ndarray]:
    """A body with three boxes of different HU, and the values 0 to 3 of what they are, on any grid."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.size), indexing="ij"), -1)
    points = index @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    points = points.transpose(2, 1, 0, 3)
    hu = np.where((np.abs(points[..., 0]) < 110) & (np.abs(points[..., 1]) < 80), 0, -1000)
    labels = np.zeros(hu.shape, np.uint8)
    for value, (name, x) in enumerate((("liver", -60), ("spleen", 0), ("left_kidney", 60)), 1):
        inside = (np.abs(points - [x, 0, 0]) < [18, 30, 24]).all(-1)
        hu[inside], labels[inside] = LEVELS[name], value
    return Volume(hu.astype(np.int16), grid), labels


def centred(size: tuple[int, int, int], spacing: tuple[float, float, float], degrees: float = 0.0) -> Grid:
    """A grid round the origin, turned about the patient's x axis."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    direction = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    origin = -direction @ ((np.array(size) - 1) / 2 * np.array(spacing))
    return Grid(size, spacing, tuple(origin), tuple(direction.ravel()))
