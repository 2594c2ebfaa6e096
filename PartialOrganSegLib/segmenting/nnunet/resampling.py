"""Resampling as nnU-Net v2 does it: splines between boxes with the same edges, thick slices one by one.

A spline through all voxels is a linear function of them along each axis, so each axis has a matrix of weights, and the
volume is resampled slab by slab: no second copy of the native CT, and none in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from ...imaging.shapes import Shape3, Spacing3

SLAB = 16
# Voxels more than this many times as long as wide are resampled apart along their long axis (nnU-Net's default).
ANISOTROPY = 3.0


def thick_axis(first: Spacing3, second: Spacing3, separate: bool | None = None) -> int | None:
    """The axis resampled apart between voxels of `first` and of `second` (mm), None when all three go together.

    It is the longest one of the first that is anisotropic; `separate` decides in place of the threshold, then by
    `first`. Two equally long axes are never apart.
    """
    if separate is False:
        return None
    spacing = first
    if not separate and max(first) / min(first) <= ANISOTROPY:
        spacing = second
        if max(second) / min(second) <= ANISOTROPY:
            return None
    axes = [axis for axis, mm in enumerate(spacing) if mm == max(spacing)]
    if len(axes) > 1:
        return None
    return axes[0]


def target_shape(shape: Shape3, spacing: Spacing3, target: Spacing3) -> Shape3:
    """Voxels of `target` mm along each axis in place of `shape` voxels of `spacing` mm."""
    first, second, third = (max(1, round(mm / goal * size))
                            for mm, goal, size in zip(spacing, target, shape, strict=True))
    return first, second, third


def spline_weights(size: int, target: int, order: int) -> npt.NDArray[np.float32]:
    """(target, size) float32 weights of the spline of `order` that continues the edge voxels outwards."""
    if size == target:
        return np.eye(size, dtype=np.float32)
    weights: npt.NDArray[np.float64] = ndimage.zoom(np.eye(size), (target / size, 1), order=order, mode="nearest",
                                                    grid_mode=True)
    return weights.astype(np.float32)


def places(size: int, target: int) -> npt.NDArray[np.float64]:
    """(target,) where the centres of `target` voxels lie among `size` ones that fill the same length."""
    return (np.arange(target, dtype=np.float64) + 0.5) * (size / target) - 0.5


def thick_weights(size: int, target: int, order: int) -> npt.NDArray[np.float32]:
    """(target, size) float32 weights along the axis that is resampled apart; order 0 takes the nearest voxel."""
    rows, columns = np.meshgrid(places(size, target), np.arange(size), indexing="ij")
    weights: npt.NDArray[np.float64] = ndimage.map_coordinates(np.eye(size), [rows, columns], order=order,
                                                               mode="nearest")
    return weights.astype(np.float32)


def resample(shape: Shape3, target: Shape3, read: Callable[[slice], npt.NDArray[np.float32]], order: int,
             order_z: int, thick: int | None) -> torch.Tensor:
    """float32 (*target): a volume of `shape`, whose float32 slabs along the first axis (`thick` if given) `read` gives.

    Splines overshoot; values stay within those of the volume, with a thick axis within those of each slice.
    """
    front = thick or 0
    order_of_axes = [front, *(axis for axis in range(3) if axis != front)]
    native, working = [shape[axis] for axis in order_of_axes], [target[axis] for axis in order_of_axes]
    rows, columns = (torch.from_numpy(spline_weights(native[axis], working[axis], order)) for axis in (1, 2))
    if thick is None:
        through = torch.from_numpy(spline_weights(native[0], working[0], order))
    else:
        through = torch.from_numpy(thick_weights(native[0], working[0], order_z))
    result = torch.zeros(working)
    low, high = np.inf, -np.inf
    for start in range(0, native[0], SLAB):
        part = slice(start, min(start + SLAB, native[0]))
        slab = torch.from_numpy(np.ascontiguousarray(np.moveaxis(read(part), front, 0)))
        smallest, largest = slab.amin((1, 2), keepdim=True), slab.amax((1, 2), keepdim=True)
        slab = rows @ slab @ columns.T
        if thick is not None:
            slab = torch.clamp(slab, smallest, largest)
        low, high = min(low, float(smallest.min())), max(high, float(largest.max()))
        result += torch.tensordot(through[:, part], slab, dims=1)
    return result.clamp_(low, high).movedim(0, front)
