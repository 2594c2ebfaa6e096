"""Warps a labelled CT onto another patient's anatomy, known only from a label map: new shapes, real image texture.

Two label maps are registered: first a scaling per axis fitted to the organs' positions, then a stationary velocity
field whose exponential is a diffeomorphism (Arsigny et al., MICCAI 2006), optimised with Adam on soft organ maps. The
CT that belongs to the moving map is carried along. Everything lives in the frame of the moving CT: a point x is read at
`phi_s(c + S^s (x - c))`, where `s` is the strength; strength 0 only resamples, strength 1 is the whole warp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from points import (
    axis_aligned,
    end_voxels,
    grid_axes,
    grid_spacing,
    is_inside,
    make_grid,
    mesh,
    pull_ct,
    pull_labels,
    resample_labels,
    sample,
    to_voxels,
    vector,
)
from scipy import ndimage

from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.imaging.volume import Grid, Volume

FIELD_SPACING_MM = 8.0  # of the velocity field; its Gaussian makes anything finer pointless
LEVELS_MM_STEPS = ((8.0, 70), (5.0, 30))
FIELD_SIGMA = 1.5  # Gaussian on the velocity, in its voxels (12 mm)
STEP_MM = 1.0
STIFFNESS = 2.0  # weight of the squared velocity gradient (dimensionless) against the mean organ Dice loss
MARGIN_MM = 60.0  # of the field's box around all organs; beyond it the displacement stays what it is at the border
SQUARINGS = 5
LOWEST_JACOBIAN = 0.15
SCALE_LIMITS = (0.75, 1.35)


@dataclass(frozen=True)
class Warp:
    """Where each point of the warped volume is read in the moving one (LPS mm, axes z, y, x).

    `velocity`: (3, z, y, x) float32 mm on `grid`, which lies in the moving CT's frame; `centre`, `scale` (3,) belong to
    the linear part and `fixed_centre` is the point of the fixed map that comes to lie at `centre`.
    """

    centre: np.ndarray
    fixed_centre: np.ndarray
    scale: np.ndarray
    velocity: torch.Tensor
    grid: Grid

    def displacement(self, strength: float = 1.0) -> torch.Tensor:
        """(3, z, y, x) mm on `grid`: the dense part of the warp at `strength` 0..1."""
        return _exponential(self.velocity[None] * strength, self.grid)[0]

    def jacobian(self, strength: float = 1.0) -> torch.Tensor:
        """(z-1, y-1, x-1) determinant of the dense part: local volume ratio moving / warped; positive if invertible."""
        return _jacobian(self.displacement(strength), self.grid)

    def target(self, fixed: Volume, grid: Grid) -> Volume:
        """The fixed label map on `grid`, a grid that `apply` returned for strength 1: what the warped labels aim at."""
        origin = np.asarray(grid.origin) + (self.fixed_centre - self.centre)[::-1]
        shifted = Grid(grid.size, grid.spacing, (float(origin[0]), float(origin[1]), float(origin[2])))
        return resample_labels(fixed, shifted, placed_on=grid)

    def apply(self, ct: Volume, labels: Volume, spacing_zyx: Sequence[float] = (3.0, 2.0, 2.0),
              strength: float = 1.0) -> tuple[Volume, Volume]:
        """The moving CT (HU) and its labels, warped, on a grid of `spacing_zyx` mm that covers the CT.

        Returns int16 and uint8 volumes. End slices that lie mostly above or below what the CT shows are left out.
        Raises UserError for a strength outside 0..1 or an oblique volume.
        """
        if not 0.0 <= strength <= 1.0:
            raise UserError(code=Code.VALUE_OUT_OF_RANGE, subject="strength", expected="0..1", found=strength)
        ct, labels = axis_aligned(ct), axis_aligned(labels)
        spacing, scale = np.asarray(spacing_zyx, float), self.scale**strength
        first, last = end_voxels(ct.grid)
        low = self.centre + (first - self.centre) / scale
        size = np.maximum(1, np.floor((last - first) / scale / spacing + 1e-6).astype(int) + 1)
        grid = make_grid(low, size, spacing)
        points = mesh([self.centre[a] + scale[a] * (axis - self.centre[a]) for a, axis in enumerate(grid_axes(grid))])
        where = points + sample(self.displacement(strength)[None], to_voxels(points, self.grid))[0].movedim(0, -1)
        # A slice is worth keeping while most of it was seen by the scanner; the little that was not repeats the edge.
        unseen = ((where[..., 0] < first[0] - 5.0) | (where[..., 0] > last[0] + 5.0)).float().mean(dim=(1, 2)).numpy()
        visible = np.flatnonzero(unseen <= 0.1)
        start, stop = 0, len(unseen)
        if len(visible):
            start, stop = visible[0], visible[-1] + 1
        image = pull_ct(ct, where[start:stop], spacing * scale)
        mask = pull_labels(labels, where[start:stop])
        grid = make_grid(low + np.array([start * spacing[0], 0, 0]), image.shape, spacing)
        return Volume(image, grid), Volume(mask, grid)


def register(moving: Volume, fixed: Volume, organs: Sequence[int],
             levels: Sequence[tuple[float, int]] = LEVELS_MM_STEPS) -> Warp:
    """The warp that gives the organs of the label map `moving` the shapes they have in the label map `fixed`.

    `organs`: label values to match; those absent from either map are ignored. `levels`: (spacing mm, Adam steps) each.
    Organs cut by either field of view are compared only where both were seen. Raises UserError if no organ is shared.
    """
    moving, fixed = axis_aligned(moving), axis_aligned(fixed)
    shared = [o for o in organs if np.count_nonzero(moving.array == o) > 20 and np.count_nonzero(fixed.array == o) > 20]
    if not shared:
        raise UserError(code=Code.NO_LABELS, subject="organs to register",
                        expected=f"one of {list(organs)} in both label maps", found="none")
    # The linear part first: the velocity field is for what is left, which is small enough for its smoothness.
    scale, centre, fixed_centre = _fit_scale(moving, fixed, shared)
    box = _organ_box(moving, fixed, shared, scale, centre, fixed_centre)
    grid = _grid_over(box, FIELD_SPACING_MM)
    velocity = torch.zeros((1, 3, *grid.shape))
    for spacing, steps in levels:
        velocity = _optimise(velocity, grid, moving, fixed, shared, (scale, centre, fixed_centre), box, spacing, steps)
    velocity = _smooth(velocity).detach()
    # Folded somewhere, the warp is weakened as a whole until it can be inverted.
    while _jacobian(_exponential(velocity, grid)[0], grid).min() < LOWEST_JACOBIAN:
        velocity = velocity * 0.8
    return Warp(centre, fixed_centre, scale, velocity[0], grid)


def _optimise(velocity: torch.Tensor, grid: Grid, moving: Volume, fixed: Volume, organs: Sequence[int],
              linear: tuple[np.ndarray, np.ndarray, np.ndarray], box: np.ndarray, spacing: float,
              steps: int) -> torch.Tensor:
    """One resolution level: `velocity` (before smoothing) after `steps` of Adam."""
    scale, centre, fixed_centre = linear
    level = _grid_over(box, spacing)
    points = mesh(grid_axes(level))
    in_fixed = (points - vector(centre)) / vector(scale) + vector(fixed_centre)
    maps, target = _soft_maps(moving, organs, points, spacing), _soft_maps(fixed, organs, in_fixed, spacing)
    # An organ that one scan cuts off cannot be matched there, so only what both scans show is compared.
    in_fixed_view = is_inside(in_fixed, fixed.grid)
    velocity = velocity.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([velocity], lr=STEP_MM)
    h = vector(grid_spacing(grid)).view(1, 3, 1, 1, 1)
    for _ in range(steps):
        optimiser.zero_grad()
        smooth = _smooth(velocity)
        shift = F.interpolate(_exponential(smooth, grid), size=level.shape, mode="trilinear", align_corners=True)
        where = points + shift[0].movedim(0, -1)
        warped = sample(maps, to_voxels(where, level))
        in_both = (in_fixed_view & is_inside(where.detach(), moving.grid)).float()
        overlap = (warped * target * in_both).sum(dim=(0, 2, 3, 4))
        total = ((warped + target) * in_both).sum(dim=(0, 2, 3, 4))
        dice = 1 - (2 * overlap + 1) / (total + 1)
        rough = sum((torch.diff(smooth, dim=d) / h.flatten()[d - 2]).square().mean() for d in (2, 3, 4))
        (dice.mean() + STIFFNESS * rough).backward()
        optimiser.step()
    return velocity.detach()


def _fit_scale(moving: Volume, fixed: Volume, organs: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scaling per axis (moving / fixed) and the two centres, by robust regression on the organs' quantiles.

    Organs cut by the top or bottom of either map are left out while three others remain: their middle is not theirs.
    """
    fitted = [organ for organ in organs if not _is_cut(moving.array, organ) and not _is_cut(fixed.array, organ)]
    if len(fitted) < 3:
        fitted = list(organs)
    quantiles = (0.1, 0.5, 0.9)
    ours = np.array([_quantiles(moving, organ, quantiles) for organ in fitted])
    theirs = np.array([_quantiles(fixed, organ, quantiles) for organ in fitted])
    scale, centre, fixed_centre = np.ones(3), np.zeros(3), np.zeros(3)
    for axis in range(3):
        m, f = ours[:, axis].ravel(), theirs[:, axis].ravel()
        weight = np.ones_like(m)
        for _ in range(10):
            mean_m, mean_f = np.average(m, weights=weight), np.average(f, weights=weight)
            spread = np.average((f - mean_f) ** 2, weights=weight)
            slope = (np.average((f - mean_f) * (m - mean_m), weights=weight) + 400.0) / (spread + 400.0)
            slope = float(np.clip(slope, *SCALE_LIMITS))  # 400 mm2 draw it to 1 when there is little to fit
            weight = 1 / np.maximum(1, np.abs(m - mean_m - slope * (f - mean_f)) / 10.0)
        scale[axis], centre[axis], fixed_centre[axis] = slope, mean_m, mean_f
    return scale, centre, fixed_centre


def _quantiles(labels: Volume, organ: int, quantiles: Sequence[float]) -> list[np.ndarray]:
    """For each axis z, y, x the positions (mm) below which the given shares of the organ lie."""
    voxels = np.argwhere(labels.array == organ)
    low, _ = end_voxels(labels.grid)
    return [low[a] + grid_spacing(labels.grid)[a] * np.quantile(voxels[:, a], quantiles) for a in range(3)]


def _is_cut(labels: np.ndarray, organ: int) -> bool:
    return bool((labels[0] == organ).any() or (labels[-1] == organ).any())


def _organ_box(moving: Volume, fixed: Volume, organs: Sequence[int], scale: np.ndarray, centre: np.ndarray,
               fixed_centre: np.ndarray) -> np.ndarray:
    """(2, 3) mm: the box, in the moving frame, of both maps' organs with MARGIN_MM around them."""
    corners = []
    for labels in (moving, fixed):
        voxels = np.argwhere(np.isin(labels.array, organs))
        low = end_voxels(labels.grid)[0]
        box = np.array([voxels.min(0), voxels.max(0)]) * grid_spacing(labels.grid) + low
        if labels is fixed:
            box = centre + scale * (box - fixed_centre)
        corners.append(box)
    # No farther than the moving CT shows, or the field would be fitted to nothing.
    box = np.array([np.min([c[0] for c in corners], 0) - MARGIN_MM, np.max([c[1] for c in corners], 0) + MARGIN_MM])
    first, last = end_voxels(moving.grid)
    return np.array([np.maximum(box[0], first - 20.0), np.minimum(box[1], last + 20.0)])


def _soft_maps(labels: Volume, organs: Sequence[int], points: torch.Tensor, spacing: float) -> torch.Tensor:
    """(1, organs, z, y, x): smoothed membership of each organ at `points` (z, y, x, 3) mm; 0 outside the map."""
    sigma = 0.6 * spacing / grid_spacing(labels.grid)
    voxels = to_voxels(points, labels.grid)
    maps = []
    for organ in organs:
        where = ndimage.find_objects((labels.array == organ).astype(np.uint8))[0]
        pad = np.ceil(3 * sigma).astype(int) + 1
        start = [max(0, s.start - p) for s, p in zip(where, pad, strict=True)]
        crop = labels.array[tuple(slice(a, s.stop + p) for a, s, p in zip(start, where, pad, strict=True))] == organ
        soft = torch.from_numpy(ndimage.gaussian_filter(crop.astype(np.float32), sigma, truncate=3.0, mode="nearest"))
        maps.append(sample(soft[None, None], voxels - vector(start), padding="zeros"))
    return torch.cat(maps, dim=1)


def _exponential(velocity: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Displacement (1, 3, z, y, x) mm of the flow along `velocity` (mm) for unit time, by scaling and squaring."""
    points = mesh(grid_axes(grid))
    shift: torch.Tensor = velocity / 2**SQUARINGS
    for _ in range(SQUARINGS):
        shift = shift + sample(shift, to_voxels(points + shift[0].movedim(0, -1), grid))
    return shift


def _jacobian(displacement: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Determinant of identity + gradient of `displacement` (3, z, y, x) mm, by forward differences."""
    columns = []
    for axis in range(3):
        step = torch.diff(displacement, dim=axis + 1) / grid_spacing(grid)[axis]
        columns.append(step[:, : displacement.shape[1] - 1, : displacement.shape[2] - 1, : displacement.shape[3] - 1])
    matrix = torch.stack(columns, dim=-1).movedim(0, -2) + torch.eye(3)
    determinant: torch.Tensor = torch.linalg.det(matrix)
    return determinant


def _smooth(velocity: torch.Tensor) -> torch.Tensor:
    """Separable Gaussian of FIELD_SIGMA voxels with repeated borders over (1, 3, z, y, x)."""
    radius = int(np.ceil(3 * FIELD_SIGMA))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / FIELD_SIGMA) ** 2)
    kernel = kernel / kernel.sum()
    field = velocity.movedim(1, 0)
    for axis in range(3):
        shape, pad = [1] * 5, [0] * 6
        shape[axis + 2] = len(kernel)
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = radius
        field = F.conv3d(F.pad(field, pad, mode="replicate"), kernel.view(shape))
    return field.movedim(0, 1)


def _grid_over(box: np.ndarray, spacing: float) -> Grid:
    """A grid that spans `box` (2, 3) mm exactly, with voxels of about `spacing` mm."""
    shape = np.maximum(2, np.round((box[1] - box[0]) / spacing).astype(int) + 1)
    return make_grid(box[0], shape, (box[1] - box[0]) / (shape - 1))
