"""Volumes on axis-aligned grids, read at any points in patient millimetres: what a warp is made of.

Points and vectors are in z, y, x order, LPS mm. Grid to grid without a warp is `imaging.resampling`'s work.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.imaging.volume import Grid, Volume

AIR_HU = -1024.0


def pull_ct(ct: Volume, where: torch.Tensor, step: np.ndarray) -> np.ndarray:
    """int16 HU at `where` (z, y, x, 3) mm; linear, smoothed first where the output `step` (mm) is the coarser one."""
    # Thinning out without smoothing would keep the noise and lose thin walls.
    sigma = np.maximum(0.0, step / grid_spacing(ct.grid) - 1.0) / 2.0
    image = np.maximum(ct.array, AIR_HU).astype(np.float32)
    if sigma.max() > 0:
        image = ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=3.0)
    pulled = sample(torch.from_numpy(image)[None, None], to_voxels(where, ct.grid))[0, 0]
    return pulled.round().to(torch.int16).numpy()


def pull_labels(labels: Volume, where: torch.Tensor) -> np.ndarray:
    """uint8 labels at `where`: the class whose linearly interpolated membership is greatest, background included."""
    voxels = to_voxels(where, labels.grid)
    best, background = torch.zeros(voxels.shape[:3]), torch.ones(voxels.shape[:3])
    result = torch.zeros(voxels.shape[:3], dtype=torch.uint8)
    for value in np.unique(labels.array):
        if value == 0:
            continue
        member = torch.from_numpy((labels.array == value).astype(np.float32))[None, None]
        score = sample(member, voxels)[0, 0]
        wins = score > best
        best[wins], result[wins] = score[wins], int(value)
        background -= score
    result[best < background] = 0
    return result.numpy()


def resample_labels(labels: Volume, grid: Grid, placed_on: Grid | None = None) -> Volume:
    """A label map as uint8 at the voxels of an axis-aligned `grid`; the result lies on `placed_on` if given."""
    return Volume(pull_labels(axis_aligned(labels), mesh(grid_axes(grid))), placed_on or grid)


def axis_aligned(volume: Volume) -> Volume:
    """The volume with its axes along z, y, x. Raises UserError when they are oblique."""
    tilt = volume.grid.tilt_degrees()
    if tilt > 1.0:
        raise UserError(code=Code.GRID_UNUSABLE, subject="grid", expected="axes along the patient's",
                        found=f"a tilt of {tilt:.1f} degrees")
    return volume.canonical()


def grid_spacing(grid: Grid) -> np.ndarray:
    """(z, y, x) mm."""
    return np.asarray(grid.spacing[::-1], float)


def end_voxels(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Centres (z, y, x mm) of the first and the last voxel of an axis-aligned grid."""
    first = np.asarray(grid.origin[::-1], float)
    return first, first + (np.asarray(grid.shape) - 1) * grid_spacing(grid)


def make_grid(first: np.ndarray, shape: Sequence[int], spacing: np.ndarray) -> Grid:
    """The axis-aligned grid of `shape` voxels whose first centre lies at `first` (z, y, x mm)."""
    depth, height, width = (int(size) for size in shape)
    step_z, step_y, step_x = (float(step) for step in spacing)
    z, y, x = (float(place) for place in first)
    return Grid((width, height, depth), (step_x, step_y, step_z), (x, y, z))


def grid_axes(grid: Grid) -> list[np.ndarray]:
    """The voxels' coordinates (mm) along z, y and x."""
    first, spacing = end_voxels(grid)[0], grid_spacing(grid)
    return [first[a] + spacing[a] * np.arange(grid.shape[a]) for a in range(3)]


def mesh(axes: Sequence[np.ndarray]) -> torch.Tensor:
    """(z, y, x, 3) float32 points of three coordinate lists."""
    return torch.stack(torch.meshgrid(*[vector(axis) for axis in axes], indexing="ij"), dim=-1)


def vector(values: Sequence[float] | np.ndarray) -> torch.Tensor:
    """float32 tensor of a few numbers."""
    return torch.tensor(np.asarray(values), dtype=torch.float32)


def to_voxels(points: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Points (…, 3) in z,y,x mm as voxel indices of an axis-aligned grid."""
    return (points - vector(end_voxels(grid)[0])) / vector(grid_spacing(grid))


def is_inside(points: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Bool (...): which points (..., 3) lie between the first and the last voxel centres."""
    first, last = end_voxels(grid)
    return ((points >= vector(first)) & (points <= vector(last))).all(dim=-1)


def sample(image: torch.Tensor, voxels: torch.Tensor, padding: str = "border") -> torch.Tensor:
    """Trilinear values of `image` (1, C, z, y, x) at voxel indices (Z, Y, X, 3): (1, C, Z, Y, X)."""
    size = vector([max(1, n - 1) for n in image.shape[2:]])
    normalised = (voxels / size * 2 - 1).flip(-1)[None]
    return F.grid_sample(image, normalised, mode="bilinear", padding_mode=padding, align_corners=True)
