"""Values of one working grid read linearly on another, a slice at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from .shapes import Affine, Shape3

# Off-diagonal parts of a matrix below this (voxels a voxel) shift nothing by as much as a voxel's tenth.
STRAIGHT = 1e-4


def linear_slices(values: torch.Tensor, to_values: Affine, shape: Shape3) -> Iterator[torch.Tensor]:
    """float32 (y, x, C) of each slice z of a grid of `shape` (z, y, x), read from `values` (three axes, C).

    `to_values` (4, 4): index (z, y, x, 1) on the grid to index along the axes of `values`. Beyond the outermost voxel
    centres the outermost voxels count.
    """
    directions = np.asarray(to_values, float)[:3, :3]
    # Which axis of `values` each axis of the grid runs along, if it runs along one.
    order = [int(axis) for axis in np.abs(directions).argmax(0)]
    straight = np.zeros((3, 3))
    straight[order, range(3)] = directions[order, range(3)]
    if sorted(order) == [0, 1, 2] and np.abs(directions - straight).max() < STRAIGHT:
        steps = [directions[axis, target] for target, axis in enumerate(order)]
        first = [to_values[axis, 3] for axis in order]
        yield from _along_the_axes(values.permute(*order, 3), steps, first, shape)
    else:
        yield from _turned(values, np.asarray(to_values, float), shape)


def _along_the_axes(values: torch.Tensor, steps: list[float], first: list[float],
                    shape: Shape3) -> Iterator[torch.Tensor]:
    """Both grids have the same axes: voxel k of an axis lies at first + k * step."""
    rows, columns = (linear_weights(values.shape[axis], shape[axis], first[axis], steps[axis]) for axis in (1, 2))
    last = values.shape[0] - 1
    for z in range(shape[0]):
        place = min(max(first[0] + steps[0] * z, 0.0), float(last))
        below = min(int(place), max(last - 1, 0))
        plane = values[below].float()
        if place > below:
            plane = torch.lerp(plane, values[below + 1].float(), place - below)
        plane = (rows @ plane.flatten(1)).unflatten(1, plane.shape[1:])  # (y, x of values, C)
        yield torch.matmul(columns, plane)


def linear_weights(size: int, target: int, first: float, step: float) -> torch.Tensor:
    """(target, size) float32 weights: row k reads `size` values linearly at first + k * step."""
    places = (first + step * torch.arange(target, dtype=torch.float64)).clamp(0, size - 1)
    return (1 - (places[:, None] - torch.arange(size)).abs()).clamp_min(0).float()


def _turned(values: torch.Tensor, to_values: Affine, shape: Shape3) -> Iterator[torch.Tensor]:
    """The grids are turned against each other."""
    channels = values.permute(3, 0, 1, 2).float()[None]
    size = torch.tensor(values.shape[:3], dtype=torch.float64)
    matrix = torch.from_numpy(to_values)
    y, x = torch.meshgrid(torch.arange(shape[1]).double(), torch.arange(shape[2]).double(), indexing="ij")
    plane = y[..., None] * matrix[:3, 1] + x[..., None] * matrix[:3, 2] + matrix[:3, 3]
    for z in range(shape[0]):
        # grid_sample counts from -1 to 1 between the edges of an axis, the last axis first.
        points = (((plane + z * matrix[:3, 0]) * 2 + 1) / size - 1).flip(-1)
        sampled = F.grid_sample(channels, points.float()[None, None], padding_mode="border", align_corners=False)
        yield sampled[0, :, 0].permute(1, 2, 0)
