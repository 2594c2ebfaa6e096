"""From native voxels to the working spacing, slab by slab; thin voxels are averaged, thick ones interpolated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from .shapes import Affine, Box3, Shape3, VoxelArray

AIR_HU = -1024.0
SLAB = 16


def working_shape(shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]) -> Shape3:
    """Number of voxels of about `target` mm that fill the same box as `shape` voxels of `spacing` mm (all z, y, x).

    >>> working_shape((100, 512, 512), (5.0, 0.8, 0.8), (3.0, 2.0, 2.0))
    (167, 205, 205)
    """
    sizes = [max(1, round(n * mm / goal)) for n, mm, goal in zip(shape, spacing, target, strict=True)]
    return sizes[0], sizes[1], sizes[2]


def axis_weights(size: int, target: int) -> torch.Tensor:
    """(target, size) weights of linear interpolation, widened to the target's voxel when that is the larger one.

    The two boxes have the same edges: target voxel k lies at (k + 0.5) * size / target - 0.5.
    """
    scale = size / target
    centre = ((torch.arange(target) + 0.5) * scale - 0.5)[:, None]
    if scale < 1:  # beyond the last voxel's centre lies the last voxel
        centre = centre.clamp(0, size - 1)
    weights = (1 - (centre - torch.arange(size)).abs() / max(1.0, scale)).clamp_min(0)
    return weights / weights.sum(1, keepdim=True)


def resample_box(ct: VoxelArray, box: Box3, target: Shape3) -> torch.Tensor:
    """float32 (z, y, x) of shape `target`: HU of the box of `ct`, padding below air raised to air.

    Only `SLAB` native slices are float at a time; any strides of `ct` will do.
    """
    depth = box[0].stop - box[0].start
    weights = axis_weights(depth, target[0])
    result = torch.zeros(target)
    for start in range(0, depth, SLAB):
        stop = min(start + SLAB, depth)
        native = ct[box[0].start + start:box[0].start + stop, box[1], box[2]]
        slab = torch.from_numpy(np.ascontiguousarray(native, dtype=np.float32).copy()).clamp_min_(AIR_HU)
        if slab.shape[1:] != target[1:]:
            slab = F.interpolate(slab[None], size=target[1:], mode="bilinear", antialias=True)[0]
        # Only the target slices that these native ones reach.
        part = weights[:, start:stop]
        rows = torch.nonzero(part.any(dim=1)).ravel()
        if len(rows):
            first, last = int(rows[0]), int(rows[-1]) + 1
            result[first:last] += torch.tensordot(part[first:last], slab, dims=1)
    return result


def patient_aligned(volume: torch.Tensor, to_voxel: Affine, target: Shape3) -> torch.Tensor:
    """(z, y, x) HU sampled linearly on another grid of shape `target`; outside lies air.

    `to_voxel`: (4, 4), index (x, y, z, 1) on the target to index (x, y, z, 1) in `volume`.
    """
    above_air = (volume - AIR_HU)[None, None]  # grid_sample puts zero outside
    size = torch.tensor(volume.shape[::-1], dtype=torch.float64)
    matrix = torch.from_numpy(np.ascontiguousarray(to_voxel, dtype=np.float64))
    y, x = torch.meshgrid(torch.arange(target[1]).double(), torch.arange(target[2]).double(), indexing="ij")
    plane = x[..., None] * matrix[:3, 0] + y[..., None] * matrix[:3, 1] + matrix[:3, 3]
    result = torch.empty(target)
    for z in range(target[0]):
        # grid_sample counts from -1 to 1 between the edges of an axis.
        points = ((plane + z * matrix[:3, 2]) * 2 + 1) / size - 1
        result[z] = F.grid_sample(above_air, points.float()[None, None], align_corners=False)[0, 0, 0] + AIR_HU
    return result
