"""Where voxels lie: a grid's size, spacing, origin and direction, and flips and axis swaps that lose nothing.

Coordinates are ITK's: millimetres in LPS (x to the patient's left, y to posterior, z to superior). Arrays are indexed
(z, y, x), grids are described (x, y, z), as SimpleITK does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grid:
    """A voxel grid: `size` (x, y, z), `spacing` mm, `origin` mm (centre of voxel 0), `direction` 3x3 row-major.

    >>> grid = Grid((512, 512, 100), (0.8, 0.8, 5.0), origin=(-204.4, -204.4, 0.0))
    >>> grid.shape
    (100, 512, 512)
    >>> (grid.matrix @ [0, 0, 99, 1]).tolist()
    [-204.4, -204.4, 495.0, 1.0]
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    @property
    def matrix(self) -> np.ndarray:
        """(4, 4) float64: voxel index (i, j, k) to LPS millimetres."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(self.direction).reshape(3, 3) * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of an array on this grid."""
        return self.size[::-1]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return float(np.prod(self.spacing)) / 1000.0

    def differing_from(self, other: Grid) -> str:
        """Size, spacing, origin and direction where they differ, as "size (4, 4, 4), found size (5, 4, 4)"."""
        names = ("size", "spacing", "origin", "direction")
        differing = [name for name in names
                     if not np.allclose(getattr(self, name), getattr(other, name), rtol=0, atol=1e-4)] or names

        def said(grid: Grid) -> str:
            return ", ".join(f"{name} ({', '.join(f'{value:.6g}' for value in getattr(grid, name))})"
                             for name in differing)

        return f"{said(self)}, found {said(other)}"

    def same_as(self, other: Grid, tolerance_mm: float = 1e-2) -> bool:
        """Whether every voxel of both grids lies at the same place, within `tolerance_mm`."""
        if self.size != other.size:
            return False
        corners = np.array([[x, y, z, 1] for x in (0, self.size[0] - 1) for y in (0, self.size[1] - 1)
                            for z in (0, self.size[2] - 1)], dtype=float).T
        return bool(np.abs(self.matrix @ corners - other.matrix @ corners).max() <= tolerance_mm)

    def axis_order(self) -> AxisOrder:
        """The axis permutation and flips that bring this grid closest to LPS axes."""
        cosines = np.asarray(self.direction).reshape(3, 3)
        best, best_score = None, -1.0
        for permutation in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
            score = sum(abs(cosines[world, voxel]) for world, voxel in enumerate(permutation))
            if score > best_score + 1e-9:
                best, best_score = permutation, score
        assert best is not None
        return AxisOrder(best, tuple(bool(cosines[world, voxel] < 0) for world, voxel in enumerate(best)))

    def tilt_degrees(self) -> float:
        """Largest angle between a voxel axis and the patient axis it is nearest to; 0 for an unrotated scan."""
        order = self.axis_order()
        cosines = np.asarray(self.direction).reshape(3, 3)
        along = [abs(cosines[world, voxel]) for world, voxel in enumerate(order.permutation)]
        return float(np.degrees(np.arccos(np.clip(min(along), -1.0, 1.0))))


@dataclass(frozen=True)
class AxisOrder:
    """Voxel axes to patient axes: patient axis w runs along voxel axis `permutation[w]`, backwards if `flips[w]`."""

    permutation: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def to_canonical(self, array: np.ndarray) -> np.ndarray:
        """View of a (z, y, x) array whose axes run to superior, posterior and left. No copy, no resampling."""
        axes = [2 - self.permutation[2 - a] for a in range(3)]
        turned = np.transpose(array, axes)
        return turned[tuple(slice(None, None, -1) if self.flips[2 - a] else slice(None) for a in range(3))]

    def from_canonical(self, array: np.ndarray) -> np.ndarray:
        """Inverse of `to_canonical`, also a view."""
        unflipped = array[tuple(slice(None, None, -1) if self.flips[2 - a] else slice(None) for a in range(3))]
        axes = [2 - self.permutation[2 - a] for a in range(3)]
        return np.transpose(unflipped, np.argsort(axes))

    def canonical_grid(self, grid: Grid) -> Grid:
        """The grid of `to_canonical(array)`: the same voxels at the same places, listed in another order."""
        size = tuple(grid.size[v] for v in self.permutation)
        spacing = tuple(grid.spacing[v] for v in self.permutation)
        cosines = np.asarray(grid.direction).reshape(3, 3)[:, list(self.permutation)]
        first = np.zeros(4)
        first[3] = 1
        for voxel, flip in zip(self.permutation, self.flips, strict=True):
            first[voxel] = grid.size[voxel] - 1 if flip else 0
        origin = (grid.matrix @ first)[:3]
        cosines = cosines * np.where(self.flips, -1.0, 1.0)
        return Grid(size, spacing, tuple(float(o) for o in origin), tuple(float(c) for c in cosines.ravel()))


@dataclass(frozen=True)
class Volume:
    """Voxels and where they lie: `array` (z, y, x) in HU or labels, on `grid`."""

    array: np.ndarray
    grid: Grid

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise ValueError(f"array shape (z,y,x) {self.array.shape} does not fit the grid's {self.grid.shape}")

    def canonical(self) -> Volume:
        """The same voxels with axes running to left, posterior, superior (nearest axis for a tilted grid)."""
        order = self.grid.axis_order()
        return Volume(order.to_canonical(self.array), order.canonical_grid(self.grid))
