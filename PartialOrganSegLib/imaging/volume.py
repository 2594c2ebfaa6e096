"""Where voxels lie: a grid's size, spacing, origin and direction, and flips and axis swaps that lose nothing.

Coordinates are ITK's: millimetres in LPS (x to the patient's left, y to posterior, z to superior). Arrays are indexed
(z, y, x), grids are described (x, y, z), as SimpleITK does.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .shapes import Affine, Shape3, Spacing3, VoxelArray

ROUNDED_MM = 0.1  # headers round: so far apart, two grids are the same one
_FIELDS = ("size", "spacing", "origin", "direction")
_SMALLEST_DIFFERENCE = 1e-4  # mm or cosine that a message names
_CLEARLY_BETTER = 1e-9  # so that rounding does not decide between axes at 45 degrees


@dataclass(frozen=True)
class Grid:
    """A voxel grid: `size` (x, y, z), `spacing` mm, `origin` mm (centre of voxel 0), `direction` 3x3 row-major.

    >>> grid = Grid((512, 512, 100), (0.8, 0.8, 5.0), origin=(-204.4, -204.4, 0.0))
    >>> grid.shape
    (100, 512, 512)
    >>> (grid.matrix @ [0, 0, 99, 1]).tolist()
    [-204.4, -204.4, 495.0, 1.0]
    """

    size: Shape3
    spacing: Spacing3
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    @property
    def matrix(self) -> Affine:
        """(4, 4) float64: voxel index (i, j, k) to LPS millimetres."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(self.direction).reshape(3, 3) * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @property
    def shape(self) -> Shape3:
        """Shape (z, y, x) of an array on this grid."""
        return self.size[::-1]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return float(np.prod(self.spacing)) / 1000.0

    def differing_from(self, other_grid: Grid) -> str:
        """Size, spacing, origin and direction where they differ, as "size (4, 4, 4), found size (5, 4, 4)"."""
        differing = [name for name in _FIELDS
                     if not np.allclose(getattr(self, name), getattr(other_grid, name), rtol=0,
                                        atol=_SMALLEST_DIFFERENCE)]
        # Grids that are told apart by less than is shown: everything is named then.
        names = differing or _FIELDS
        return f"{self._words(names)}, found {other_grid._words(names)}"

    def _words(self, names: Sequence[str]) -> str:
        texts = []
        for name in names:
            # Cosines of turned axes are noughts with a minus and a rounding error.
            values = ", ".join(f"{round(value, 6) + 0.0:.6g}" for value in getattr(self, name))
            texts.append(f"{name} ({values})")
        return ", ".join(texts)

    def same_as(self, other_grid: Grid, tolerance_mm: float = 1e-2) -> bool:
        """Whether every voxel of both grids lies at the same place, within `tolerance_mm`."""
        if self.size != other_grid.size:
            return False
        # Both maps are linear, so the largest distance is at a corner.
        ends = [(0, size - 1) for size in self.size]
        corners = np.array([(*corner, 1) for corner in itertools.product(*ends)], dtype=float).T
        return bool(np.abs(self.matrix @ corners - other_grid.matrix @ corners).max() <= tolerance_mm)

    def axis_order(self) -> AxisOrder:
        """The axis permutation and flips that bring this grid closest to LPS axes."""
        cosines = np.asarray(self.direction).reshape(3, 3)
        permutations: list[Shape3] = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
        best, best_score = permutations[0], -1.0
        for permutation in permutations:
            score = float(np.abs(cosines[[0, 1, 2], permutation]).sum())
            if score > best_score + _CLEARLY_BETTER:
                best, best_score = permutation, score
        flip_x, flip_y, flip_z = (cosines[[0, 1, 2], best] < 0).tolist()
        return AxisOrder(best, (flip_x, flip_y, flip_z))

    def order_of(self, other_grid: Grid, tolerance_mm: float) -> AxisOrder | None:
        """The axis permutation and flips that list these voxels as `other_grid` does; None where the voxels of the two
        do not lie at the same places, within `tolerance_mm`."""
        if self.same_as(other_grid, tolerance_mm):
            return AxisOrder((0, 1, 2), (False, False, False))
        # Seen from the other grid's axes, these are then the patient's.
        cosines, axes = (np.asarray(grid.direction).reshape(3, 3) for grid in (self, other_grid))
        order = replace(self, direction=tuple((axes.T @ cosines).ravel().tolist())).axis_order()
        return order if order.canonical_grid(self).same_as(other_grid, tolerance_mm) else None

    def tilt_degrees(self) -> float:
        """Largest angle between a voxel axis and the patient axis it is nearest to; 0 for an unrotated scan."""
        cosines = np.asarray(self.direction).reshape(3, 3)
        along = np.abs(cosines[[0, 1, 2], self.axis_order().permutation])
        return float(np.degrees(np.arccos(np.clip(along.min(), -1.0, 1.0))))


@dataclass(frozen=True)
class AxisOrder:
    """Voxel axes to patient axes: patient axis w runs along voxel axis `permutation[w]`, backwards if `flips[w]`.
    Or to the axes of another grid, see `Grid.order_of`.

    All three are x, y, z; arrays list them the other way round.
    """

    permutation: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def to_canonical(self, array: VoxelArray) -> VoxelArray:
        """View of a (z, y, x) array whose axes run to superior, posterior and left. No copy, no resampling."""
        return np.transpose(array, self._array_axes())[self._array_flips()]

    def from_canonical(self, array: VoxelArray) -> VoxelArray:
        """Inverse of `to_canonical`, also a view."""
        return np.transpose(array[self._array_flips()], np.argsort(self._array_axes()))

    def _array_axes(self) -> list[int]:
        return [2 - voxel_axis for voxel_axis in reversed(self.permutation)]

    def _array_flips(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flip else 1) for flip in reversed(self.flips))

    def canonical_grid(self, grid: Grid) -> Grid:
        """The grid of `to_canonical(array)`: the same voxels at the same places, listed in another order."""
        x, y, z = self.permutation
        # Voxel 0 of a flipped axis is the one that was last.
        first = np.array([0.0, 0.0, 0.0, 1.0])
        for voxel_axis, flip in zip(self.permutation, self.flips, strict=True):
            if flip:
                first[voxel_axis] = grid.size[voxel_axis] - 1
        origin_x, origin_y, origin_z = (grid.matrix @ first)[:3].tolist()
        cosines = np.asarray(grid.direction).reshape(3, 3)[:, [x, y, z]] * np.where(self.flips, -1.0, 1.0)
        return Grid((grid.size[x], grid.size[y], grid.size[z]), (grid.spacing[x], grid.spacing[y], grid.spacing[z]),
                    (origin_x, origin_y, origin_z), tuple(cosines.ravel().tolist()))


@dataclass(frozen=True)
class Volume:
    """Voxels and where they lie: `array` (z, y, x) in HU or labels, on `grid`."""

    array: VoxelArray
    grid: Grid

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise ValueError(f"array shape (z,y,x) {self.array.shape} does not fit the grid's {self.grid.shape}")

    def canonical(self) -> Volume:
        """The same voxels with axes running to left, posterior, superior (nearest axis for a tilted grid)."""
        order = self.grid.axis_order()
        return Volume(order.to_canonical(self.array), order.canonical_grid(self.grid))

    def in_order_of(self, grid: Grid, tolerance_mm: float = ROUNDED_MM) -> Volume:
        """The same voxels, listed as `grid` lists them: programs store masks in their own axis order. As it is where
        `grid` has other voxels, so that the two still differ."""
        order = self.grid.order_of(grid, tolerance_mm)
        if order is None or self.grid.same_as(grid, tolerance_mm):
            return self
        return Volume(np.ascontiguousarray(order.to_canonical(self.array)), order.canonical_grid(self.grid))
