"""A region at a coarser resolution, in numpy: block means on the way down, linear interpolation on the way up."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..imaging.shapes import Shape3, Spacing3, VoxelArray

Values: TypeAlias = npt.NDArray[np.float32]
"""(z, y, x) float32: a value a voxel."""


def block_sizes(spacing: Spacing3, goal_mm: float) -> Shape3:
    """How many voxels along each axis make a block of about `goal_mm`; 1 where a voxel is as long already.

    >>> block_sizes((5.0, 0.8, 0.8), 1.6)
    (1, 2, 2)
    """
    z, y, x = (max(1, round(goal_mm / mm)) for mm in spacing)
    return z, y, x


def block_means(array: VoxelArray, block: Shape3) -> Values:
    """float32 means of the blocks; the last block of an axis is filled up with the array's last voxels."""
    if block == (1, 1, 1):
        return array.astype(np.float32)
    missing = [(0, -size % length) for size, length in zip(array.shape, block, strict=True)]
    if any(after for _, after in missing):
        array = np.pad(array, missing, mode="edge")
    depth, height, width = (size // length for size, length in zip(array.shape, block, strict=True))
    parts = array.reshape(depth, block[0], height, block[1], width, block[2])
    return np.asarray(parts.mean(axis=(1, 3, 5), dtype=np.float32))


def interpolated(coarse: Values, block: Shape3, shape: Shape3) -> Values:
    """float32 of `shape`, the voxels that `block_means` was given: linear between the blocks' centres."""
    values = coarse
    for axis, (length, size) in enumerate(zip(block, shape, strict=True)):
        if length == 1:
            continue
        last = values.shape[axis] - 1
        place = ((np.arange(size) + 0.5) / length - 0.5).clip(0, last)
        below = place.astype(np.intp)
        along_axis = [1, 1, 1]
        along_axis[axis] = size
        share = (place - below).astype(np.float32).reshape(along_axis)
        lower = values.take(below, axis)
        values = lower + share * (values.take(np.minimum(below + 1, last), axis) - lower)
    return values
