"""Values of one working grid read linearly at some of the voxels of another, which are those near a mask."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from .masks import widened
from .shapes import Affine, Box3, Mask, Shape3

FAR = 1e6  # voxels, more than any CT has


class LinearReader:
    """Reads values on a grid, of which only some voxels are stored, linearly between its voxels.

    `table` (n, C) float32: the values of the stored voxels. `row_of`: (three axes) int32, each voxel's row in it.
    `to_values`: index (z, y, x, 1) on the grid that is read for to index along the axes of the values. Beyond the
    outermost voxel centres the outermost voxels count.
    """

    def __init__(self, table: torch.Tensor, row_of: npt.NDArray[np.int32], to_values: Affine) -> None:
        self._table, self._row_of = table, row_of
        self._to_values = to_values

    def read(self, z: int, y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]) -> torch.Tensor:
        """float32 (n, C) at voxels `y`, `x` (n,) of slice `z`."""
        neighbours, weights = np.zeros((len(y), 8), np.int64), np.ones((len(y), 8), np.float32)
        for axis, size in enumerate(self._row_of.shape):
            a, b, c, d = self._to_values[axis]
            place = np.clip(a * z + b * y + c * x + d, 0, size - 1)
            cell = np.minimum(place.astype(np.int64), max(size - 2, 0))
            part = (place - cell).astype(np.float32)
            neighbours *= size  # the flat index of a voxel has its three indices as digits
            for corner in range(8):
                if corner >> axis & 1:
                    neighbours[:, corner] += np.minimum(cell + 1, size - 1)
                    weights[:, corner] *= part
                else:
                    neighbours[:, corner] += cell
                    weights[:, corner] *= 1 - part
        # The weighted sum of eight rows of a table is what an embedding bag computes, in one pass over memory.
        rows = torch.from_numpy(self._row_of.ravel()[neighbours])
        return F.embedding_bag(rows, self._table, mode="sum", per_sample_weights=torch.from_numpy(weights))


def read_near(mask: Mask, to_values: Affine, shape: Shape3) -> Mask:
    """bool of `shape`: all voxels that read a voxel of `mask` and all beside these, and a few more.

    `mask`: voxels of the values; `to_values` as in `LinearReader`.
    """
    near = np.zeros(shape, bool)
    wide = widened(mask, reach(to_values))
    box = _box_of(wide, to_values, shape)
    if box is None:
        return near
    _, y, x = np.ogrid[box]
    for z in range(box[0].start, box[0].stop):
        nearest = []
        for axis, size in enumerate(wide.shape):
            a, b, c, d = to_values[axis]
            place = np.clip(a * z + b * y + c * x + d, 0, size - 1)
            nearest.append(np.rint(place).astype(np.intp))
        near[z, box[1], box[2]] = wide[tuple(nearest)]
    return near


def reach(to_values: Affine) -> Shape3:
    """How far `read_near` widens a mask along the axes of the values, so that the voxel nearest to a place tells.

    A voxel reads the corners of the cell around its place, less than 1 away along each axis. The voxels beside it are
    a step of their grid further, and the nearest voxel to a place is up to 1/2 away from it. What the voxels near the
    mask read lies up to 1 further than this.
    """
    steps = np.abs(to_values[:3, :3]).sum(1)
    first, second, third = (int(np.ceil(1.5 + step - 1e-6)) - 1 for step in steps)
    return first, second, third


def _box_of(mask: Mask, to_values: Affine, shape: Shape3) -> Box3 | None:
    """The part of a grid of `shape` whose voxels may have their nearest voxel in the mask; None for an empty one."""
    ends = []
    for axis, size in enumerate(mask.shape):
        filled = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        if not len(filled):
            return None
        # What lies beyond the outermost voxels reads these.
        ends.append((-FAR if filled[0] == 0 else filled[0] - 1, FAR if filled[-1] == size - 1 else filled[-1] + 1))
    corners = np.array(list(product(*ends, (1.0,)))).T
    places = (np.linalg.inv(to_values) @ corners)[:3]
    low = np.clip(np.floor(places.min(1)), 0, shape).astype(int)
    high = np.clip(np.ceil(places.max(1)) + 1, 0, shape).astype(int)
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])
