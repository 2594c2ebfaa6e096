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
from scipy import ndimage

from ..errors import UserError
from ..geometry import Grid, Volume

AIR_HU = -1024.0
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
        shifted = Grid(grid.size, grid.spacing, tuple(float(o) for o in origin))
        return resample_labels(fixed, shifted, placed_on=grid)

    def apply(self, ct: Volume, labels: Volume, spacing_zyx: Sequence[float] = (3.0, 2.0, 2.0),
              strength: float = 1.0) -> tuple[Volume, Volume]:
        """The moving CT (HU) and its labels, warped, on a grid of `spacing_zyx` mm that covers the CT.

        Returns int16 and uint8 volumes. End slices that lie mostly above or below what the CT shows are left out.
        Raises UserError for a strength outside 0..1 or an oblique volume.
        """
        if not 0.0 <= strength <= 1.0:
            raise UserError(f"strength: expected 0..1, found {strength}")
        ct, labels = _straight(ct), _straight(labels)
        spacing, scale = np.asarray(spacing_zyx, float), self.scale**strength
        first, last = _ends(ct.grid)
        low = self.centre + (first - self.centre) / scale
        size = np.maximum(1, np.floor((last - first) / scale / spacing + 1e-6).astype(int) + 1)
        grid = _grid(low, size, spacing)
        points = _mesh([self.centre[a] + scale[a] * (axis - self.centre[a]) for a, axis in enumerate(_axes(grid))])
        where = points + _sample(self.displacement(strength)[None], _to_voxels(points, self.grid))[0].movedim(0, -1)
        # A slice is worth keeping while most of it was seen by the scanner; the little that was not repeats the edge.
        unseen = ((where[..., 0] < first[0] - 5.0) | (where[..., 0] > last[0] + 5.0)).float().mean(dim=(1, 2)).numpy()
        kept = np.flatnonzero(unseen <= 0.1)
        start, stop = (kept[0], kept[-1] + 1) if len(kept) else (0, len(unseen))
        image = _pull_ct(ct, where[start:stop], spacing * scale)
        mask = _pull_labels(labels, where[start:stop])
        grid = _grid(low + np.array([start * spacing[0], 0, 0]), image.shape, spacing)
        return Volume(image, grid), Volume(mask, grid)


def register(moving: Volume, fixed: Volume, organs: Sequence[int],
             levels: Sequence[tuple[float, int]] = LEVELS_MM_STEPS) -> Warp:
    """The warp that gives the organs of the label map `moving` the shapes they have in the label map `fixed`.

    `organs`: label values to match; those absent from either map are ignored. `levels`: (spacing mm, Adam steps) each.
    Organs cut by either field of view are compared only where both were seen. Raises UserError if no organ is shared.
    """
    moving, fixed = _straight(moving), _straight(fixed)
    shared = [o for o in organs if np.count_nonzero(moving.array == o) > 20 and np.count_nonzero(fixed.array == o) > 20]
    if not shared:
        raise UserError(f"organs to register: expected one of {list(organs)} in both label maps, found none")
    scale, centre, fixed_centre = _fit_scale(moving, fixed, shared)
    box = _organ_box(moving, fixed, shared, scale, centre, fixed_centre)
    grid = _grid_over(box, FIELD_SPACING_MM)
    velocity = torch.zeros((1, 3, *grid.shape))
    for spacing, steps in levels:
        velocity = _optimise(velocity, grid, moving, fixed, shared, (scale, centre, fixed_centre), box, spacing, steps)
    velocity = _smooth(velocity).detach()
    while _jacobian(_exponential(velocity, grid)[0], grid).min() < LOWEST_JACOBIAN:
        velocity = velocity * 0.8
    return Warp(centre, fixed_centre, scale, velocity[0], grid)


def _optimise(velocity: torch.Tensor, grid: Grid, moving: Volume, fixed: Volume, organs: Sequence[int],
              linear: tuple[np.ndarray, np.ndarray, np.ndarray], box: np.ndarray, spacing: float,
              steps: int) -> torch.Tensor:
    """One resolution level: `velocity` (before smoothing) after `steps` of Adam."""
    scale, centre, fixed_centre = linear
    level = _grid_over(box, spacing)
    points = _mesh(_axes(level))
    in_fixed = (points - _vector(centre)) / _vector(scale) + _vector(fixed_centre)
    maps, target = _soft_maps(moving, organs, points, spacing), _soft_maps(fixed, organs, in_fixed, spacing)
    seen_fixed = _inside(in_fixed, fixed.grid)
    velocity = velocity.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([velocity], lr=STEP_MM)
    h = _vector(_spacing_zyx(grid)).view(1, 3, 1, 1, 1)
    for _ in range(steps):
        optimiser.zero_grad()
        smooth = _smooth(velocity)
        shift = F.interpolate(_exponential(smooth, grid), size=level.shape, mode="trilinear", align_corners=True)
        where = points + shift[0].movedim(0, -1)
        warped = _sample(maps, _to_voxels(where, level))
        seen = (seen_fixed & _inside(where.detach(), moving.grid)).float()
        overlap = (warped * target * seen).sum(dim=(0, 2, 3, 4))
        total = ((warped + target) * seen).sum(dim=(0, 2, 3, 4))
        dice = 1 - (2 * overlap + 1) / (total + 1)
        rough = sum((torch.diff(smooth, dim=d) / h.flatten()[d - 2]).square().mean() for d in (2, 3, 4))
        (dice.mean() + STIFFNESS * rough).backward()
        optimiser.step()
    return velocity.detach()


def _fit_scale(moving: Volume, fixed: Volume, organs: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scaling per axis (moving / fixed) and the two centres, by robust regression on the organs' quantiles.

    Organs cut by the top or bottom of either map are left out while three others remain: their middle is not theirs.
    """
    whole = [o for o in organs if not _is_cut(moving.array, o) and not _is_cut(fixed.array, o)]
    used = whole if len(whole) >= 3 else list(organs)
    quantiles = (0.1, 0.5, 0.9)
    ours = np.array([_quantiles(moving, o, quantiles) for o in used])
    theirs = np.array([_quantiles(fixed, o, quantiles) for o in used])
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
    low, _ = _ends(labels.grid)
    return [low[a] + _spacing_zyx(labels.grid)[a] * np.quantile(voxels[:, a], quantiles) for a in range(3)]


def _is_cut(labels: np.ndarray, organ: int) -> bool:
    return bool((labels[0] == organ).any() or (labels[-1] == organ).any())


def _organ_box(moving: Volume, fixed: Volume, organs: Sequence[int], scale: np.ndarray, centre: np.ndarray,
               fixed_centre: np.ndarray) -> np.ndarray:
    """(2, 3) mm: the box, in the moving frame, of both maps' organs with MARGIN_MM around them."""
    corners = []
    for labels in (moving, fixed):
        voxels = np.argwhere(np.isin(labels.array, organs))
        low = _ends(labels.grid)[0]
        box = np.array([voxels.min(0), voxels.max(0)]) * _spacing_zyx(labels.grid) + low
        corners.append(box if labels is moving else centre + scale * (box - fixed_centre))
    box = np.array([np.min([c[0] for c in corners], 0) - MARGIN_MM, np.max([c[1] for c in corners], 0) + MARGIN_MM])
    first, last = _ends(moving.grid)
    return np.array([np.maximum(box[0], first - 20.0), np.minimum(box[1], last + 20.0)])


def _soft_maps(labels: Volume, organs: Sequence[int], points: torch.Tensor, spacing: float) -> torch.Tensor:
    """(1, organs, z, y, x): smoothed membership of each organ at `points` (z, y, x, 3) mm; 0 outside the map."""
    sigma = 0.6 * spacing / _spacing_zyx(labels.grid)
    voxels = _to_voxels(points, labels.grid)
    maps = []
    for organ in organs:
        where = ndimage.find_objects((labels.array == organ).astype(np.uint8))[0]
        pad = np.ceil(3 * sigma).astype(int) + 1
        start = [max(0, s.start - p) for s, p in zip(where, pad, strict=True)]
        crop = labels.array[tuple(slice(a, s.stop + p) for a, s, p in zip(start, where, pad, strict=True))] == organ
        soft = torch.from_numpy(ndimage.gaussian_filter(crop.astype(np.float32), sigma, truncate=3.0, mode="nearest"))
        maps.append(_sample(soft[None, None], voxels - _vector(start), padding="zeros"))
    return torch.cat(maps, dim=1)


def _exponential(velocity: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Displacement (1, 3, z, y, x) mm of the flow along `velocity` (mm) for unit time, by scaling and squaring."""
    points = _mesh(_axes(grid))
    shift = velocity / 2**SQUARINGS
    for _ in range(SQUARINGS):
        shift = shift + _sample(shift, _to_voxels(points + shift[0].movedim(0, -1), grid))
    return shift


def _jacobian(displacement: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Determinant of identity + gradient of `displacement` (3, z, y, x) mm, by forward differences."""
    columns = []
    for axis in range(3):
        step = torch.diff(displacement, dim=axis + 1) / _spacing_zyx(grid)[axis]
        columns.append(step[:, : displacement.shape[1] - 1, : displacement.shape[2] - 1, : displacement.shape[3] - 1])
    matrix = torch.stack(columns, dim=-1).movedim(0, -2) + torch.eye(3)
    return torch.linalg.det(matrix)


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


def _pull_ct(ct: Volume, where: torch.Tensor, step: np.ndarray) -> np.ndarray:
    """int16 HU at `where` (z, y, x, 3) mm; linear, smoothed first where the output `step` (mm) is the coarser one."""
    sigma = np.maximum(0.0, step / _spacing_zyx(ct.grid) - 1.0) / 2.0
    image = np.maximum(ct.array, AIR_HU).astype(np.float32)
    if sigma.max() > 0:
        image = ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=3.0)
    pulled = _sample(torch.from_numpy(image)[None, None], _to_voxels(where, ct.grid))[0, 0]
    return pulled.round().to(torch.int16).numpy()


def _pull_labels(labels: Volume, where: torch.Tensor) -> np.ndarray:
    """uint8 labels at `where`: the class whose linearly interpolated membership is greatest, background included."""
    voxels = _to_voxels(where, labels.grid)
    best, rest = torch.zeros(voxels.shape[:3]), torch.ones(voxels.shape[:3])
    result = torch.zeros(voxels.shape[:3], dtype=torch.uint8)
    for value in np.unique(labels.array):
        if value == 0:
            continue
        member = torch.from_numpy((labels.array == value).astype(np.float32))[None, None]
        score = _sample(member, voxels)[0, 0]
        wins = score > best
        best[wins], result[wins] = score[wins], int(value)
        rest -= score
    result[best < rest] = 0
    return result.numpy()


def resample_ct(ct: Volume, spacing_zyx: Sequence[float]) -> Volume:
    """A CT as int16 on an LPS grid of `spacing_zyx` mm over the same field, smoothed where that is coarser."""
    ct, spacing = _straight(ct), np.asarray(spacing_zyx, float)
    first, last = _ends(ct.grid)
    grid = _grid(first, np.floor((last - first) / spacing + 1e-6).astype(int) + 1, spacing)
    return Volume(_pull_ct(ct, _mesh(_axes(grid)), spacing), grid)


def resample_labels(labels: Volume, grid: Grid, placed_on: Grid | None = None) -> Volume:
    """A label map as uint8 at the voxels of an axis-aligned `grid`; the result lies on `placed_on` if given."""
    return Volume(_pull_labels(_straight(labels), _mesh(_axes(grid))), placed_on or grid)


def _straight(volume: Volume) -> Volume:
    """The volume with its axes along z, y, x. Raises UserError when they are oblique."""
    tilt = volume.grid.tilt_degrees()
    if tilt > 1.0:
        raise UserError(f"grid: expected axes along the patient's, found a tilt of {tilt:.1f} degrees")
    return volume.canonical()


def _spacing_zyx(grid: Grid) -> np.ndarray:
    return np.asarray(grid.spacing[::-1], float)


def _ends(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Centres (z, y, x mm) of the first and the last voxel of an axis-aligned grid."""
    first = np.asarray(grid.origin[::-1], float)
    return first, first + (np.asarray(grid.shape) - 1) * _spacing_zyx(grid)


def _grid(first: np.ndarray, shape: Sequence[int], spacing: np.ndarray) -> Grid:
    return Grid(tuple(int(n) for n in shape[::-1]), tuple(float(s) for s in spacing[::-1]),
                tuple(float(o) for o in first[::-1]))


def _grid_over(box: np.ndarray, spacing: float) -> Grid:
    """A grid that spans `box` (2, 3) mm exactly, with voxels of about `spacing` mm."""
    shape = np.maximum(2, np.round((box[1] - box[0]) / spacing).astype(int) + 1)
    return _grid(box[0], shape, (box[1] - box[0]) / (shape - 1))


def _axes(grid: Grid) -> list[np.ndarray]:
    first, spacing = _ends(grid)[0], _spacing_zyx(grid)
    return [first[a] + spacing[a] * np.arange(grid.shape[a]) for a in range(3)]


def _mesh(axes: Sequence[np.ndarray]) -> torch.Tensor:
    """(z, y, x, 3) float32 points of three coordinate lists."""
    return torch.stack(torch.meshgrid(*[_vector(axis) for axis in axes], indexing="ij"), dim=-1)


def _vector(values: Sequence[float] | np.ndarray) -> torch.Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float32)


def _to_voxels(points: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Points (…, 3) in z,y,x mm as voxel indices of an axis-aligned grid."""
    return (points - _vector(_ends(grid)[0])) / _vector(_spacing_zyx(grid))


def _inside(points: torch.Tensor, grid: Grid) -> torch.Tensor:
    first, last = _ends(grid)
    return ((points >= _vector(first)) & (points <= _vector(last))).all(dim=-1)


def _sample(image: torch.Tensor, voxels: torch.Tensor, padding: str = "border") -> torch.Tensor:
    """Trilinear values of `image` (1, C, z, y, x) at voxel indices (Z, Y, X, 3): (1, C, Z, Y, X)."""
    size = _vector([max(1, n - 1) for n in image.shape[2:]])
    normalised = (voxels / size * 2 - 1).flip(-1)[None]
    return F.grid_sample(image, normalised, mode="bilinear", padding_mode=padding, align_corners=True)
