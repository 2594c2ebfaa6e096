"""Where the slices of a DICOM series lie on the grid that reading puts it on: what was drawn was drawn on them.

Reading fills gaps, evens out distances and moves tilted slices upright (`dicom_grid`). A slice that it made up shows
what nobody has seen, and nobody could draw in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..imaging.shapes import Coordinates
from ..imaging.volume import Grid

ROUNDED = 0.01  # slices: files have rounded coordinates
_SAME_PLACE = 0.1  # of a voxel


@dataclass(frozen=True)
class OwnSlices:
    """`positions` (n, 3): of the first voxels of the series' slices, in LPS mm; None where the CT is no series, and
    each slice of the grid is its own. `may_hide_gaps`: of a file that somebody made of a series; it does not show which
    slices reading filled in."""

    grid: Grid
    positions: Coordinates | None = None
    may_hide_gaps: bool = False

    def voxels(self) -> Coordinates:
        """(n, 3) x, y, z of each slice's first voxel, in voxels of the grid."""
        if self.positions is None:
            return np.array([(0.0, 0.0, float(depth)) for depth in range(self.grid.shape[0])])
        to_voxel = np.linalg.inv(self.grid.matrix)
        voxels: Coordinates = (np.c_[self.positions, np.ones(len(self.positions))] @ to_voxel.T)[:, :3]
        return voxels

    def nearest(self, depth: float) -> int:
        """The slice of the grid that a depth in slices falls into; halfway between two it is the upper one throughout,
        so that it leaves none out."""
        return min(max(math.floor(depth + 0.5 + ROUNDED), 0), self.grid.shape[0] - 1)

    def filled_in(self) -> list[int]:
        """The slices of the grid into which none of the series falls."""
        seen = {self.nearest(depth) for depth in self.voxels()[:, 2].tolist()}
        return [depth for depth in range(self.grid.shape[0]) if depth not in seen]

    def are_between(self, low: float, high: float) -> bool:
        """Whether a slice of the series lies between two depths, and at neither of them."""
        depths = self.voxels()[:, 2]
        return bool(((depths > low + _SAME_PLACE) & (depths < high - _SAME_PLACE)).any())

    def holds(self, voxel: Coordinates) -> bool:
        """Whether a plane of pixels of the grid's size that begins at `voxel` (x, y, z) lies on a slice of the series,
        its pixels on the pixels."""
        off = self.voxels() - voxel
        off[:, :2] -= np.rint(off[:, :2])
        return bool((np.abs(off).max(axis=1) < _SAME_PLACE).any())
