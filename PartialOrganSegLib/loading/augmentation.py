"""One augmented patch: rotation, scale and deformation in one interpolation, then changes of intensity (MONAI)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from ..annotation import OUTSIDE
from ..imaging.shapes import Shape3, Spacing3, VoxelArray

if TYPE_CHECKING:
    from monai.transforms.compose import Compose

Floats: TypeAlias = npt.NDArray[np.float64]
AIR_HU = -1024.0
# A teacher's probabilities are smooth: an eighth of the voxels says as much at an eighth of the work.
SOFT_STRIDE = 2
MOST_OUTSIDE = 0.08  # share of a patch that a shift may bring outside the image, along each axis
DEFORMED_SHARE = 0.7


class IntensityChances(NamedTuple):
    """How likely each change of intensity is: smoothing, slices made thick, another contrast, shading, noise."""

    blur: float = 0.15
    thick_slices: float = 0.15
    contrast: float = 0.25
    shading: float = 0.1
    noise: float = 0.35


USUAL_CHANCES = IntensityChances()


@dataclass(frozen=True)
class Augmentation:
    """Cuts a patch of `patch_zyx` voxels around a centre and changes it at random.

    `shift` of the centre, as a share of the patch, `rotation` degrees about each axis (z, y, x), `scale` largest
    relative change of size and `axis_scale` of each axis's beside it, `scale_factors` one of which enlarges each patch
    (none: all 1), `deformation` mm of a smooth random displacement, `hu_scale` and `hu_shift` (HU) of a random linear
    change, `intensity` the chances of further ones. 0 switches a part off; `strength` 0 only cuts.
    `in_plane`, for networks of slices: nothing leaves the axial plane or changes the distance of slices, so that each
    slice of a patch is one of the image: no turn about y and x, no shift, scale or displacement along z.
    """

    patch_zyx: Shape3
    spacing_zyx: Spacing3
    clip_hu: tuple[float, float]
    subtract: float
    divide: float
    rotation: tuple[float, float, float] = (12.0, 8.0, 8.0)
    scale: float = 0.2
    deformation: float = 8.0
    hu_scale: float = 0.12
    hu_shift: float = 25.0
    strength: float = 1.0
    shift: float = 0.3
    axis_scale: float = 0.05
    scale_factors: tuple[float, ...] = ()
    intensity: IntensityChances = USUAL_CHANCES
    in_plane: bool = False

    def __post_init__(self) -> None:
        # MONAI takes seconds to import: once here, and not in each of the processes that load patches.
        if self._changes_intensity():
            _monai_changes(self.intensity)

    def _changes_intensity(self) -> bool:
        return self.strength > 0 and any(self.intensity)

    def __call__(self, image: VoxelArray, candidate_map: npt.NDArray[np.uint8],
                 centre: Sequence[int] | npt.NDArray[np.int64], generator: np.random.Generator,
                 soft: npt.NDArray[np.uint8] | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """`image` (z, y, x) HU and `candidate_map` (z, y, x) to a patch around `centre` (z, y, x): (1, z, y, x) float32
        normalised, (z, y, x) uint8.

        Outside the image lies air, of the code `OUTSIDE`. `soft` (k, z, y, x) uint8, quantised probabilities,
        becomes (k, z, y, x) uint8 at every `SOFT_STRIDE`-th voxel of each axis, beginning anywhere, and 0 elsewhere
        and outside the image: no soft target.
        """
        grid = self._grid(self._inside(np.asarray(centre, float), image.shape, generator), generator)
        low = np.floor(grid.reshape(-1, 3).min(0)).astype(int).clip(0, np.array(image.shape) - 1)
        high = np.ceil(grid.reshape(-1, 3).max(0)).astype(int).clip(0, np.array(image.shape) - 1) + 1
        # Only the part that the patch is from: an augmentation of the whole CT would take a hundred times as long.
        window = tuple(slice(first, end) for first, end in zip(low, high, strict=True))
        size = np.maximum(high - low, 1)
        unit = torch.from_numpy(((grid - low + 0.5) / size * 2 - 1)[..., ::-1].astype(np.float32))[None]
        # grid_sample puts zeros outside, so what should lie there is subtracted first and added afterwards.
        pixels = torch.from_numpy(np.asarray(image[window], np.float32))[None, None] - AIR_HU
        patch = F.grid_sample(pixels, unit, mode="bilinear", padding_mode="zeros", align_corners=False)[0] + AIR_HU
        codes = torch.from_numpy(np.asarray(candidate_map[window], np.float32))[None, None] - OUTSIDE
        target = F.grid_sample(codes, unit, mode="nearest", padding_mode="zeros", align_corners=False)[0, 0]
        patch = self._intensities(patch, generator)
        soft_patch = None
        if soft is not None:
            soft_patch = _sampled_soft(soft[(slice(None), *window)], unit, generator)
        return patch, (target + OUTSIDE).to(torch.uint8), soft_patch

    def _inside(self, centre: Floats, shape: Sequence[int], generator: np.random.Generator) -> Floats:
        """The centre (z, y, x), moved at random but so that little of the patch lies outside the image."""
        patch, size = np.asarray(self.patch_zyx), np.asarray(shape)
        moves = generator.uniform(-self.shift, self.shift, 3) * patch * self.strength
        beyond = min(MOST_OUTSIDE, self.shift) * patch * self.strength
        if self.in_plane:
            moves[0] = beyond[0] = 0
        moved = centre + moves
        # Along an axis where the patch is longer than the image it stays in the middle.
        low, high = patch // 2 - beyond, size - (patch + 1) // 2 + beyond
        middle = (size - patch) // 2 + patch // 2
        fitting = np.clip(moved, np.minimum(low, middle), np.maximum(high, middle))
        inside: Floats = np.where(low < high, fitting, np.clip(moved, middle - beyond, middle + beyond))
        return inside

    def _grid(self, centre: Floats, generator: np.random.Generator) -> npt.NDArray[np.float32]:
        """(z, y, x, 3) voxel coordinates (z, y, x) to sample at."""
        spacing, patch = np.asarray(self.spacing_zyx), np.asarray(self.patch_zyx)
        # Whole voxels: without changes nothing is interpolated.
        axes = [np.arange(length) - length // 2 for length in patch]
        angles = np.radians(generator.uniform(-1, 1, 3) * self.rotation) * self.strength
        overall = generator.uniform(-1, 1) * self.scale * self.strength
        scales = 1 + overall + generator.uniform(-self.axis_scale, self.axis_scale, 3) * self.strength
        if self.scale_factors and self.strength:
            # The image enlarged by a factor is read in steps smaller by it.
            scales /= generator.choice(self.scale_factors)
        if self.in_plane:
            angles[1:], scales[0] = 0, 1
        matrix = _rotation(angles) * scales
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).astype(np.float32) * spacing.astype(np.float32)
        points = points @ matrix.T.astype(np.float32)
        if self.strength and self.deformation and generator.random() < DEFORMED_SHARE:
            points += self._displacement(generator)
        # Millimetres from the centre until here: voxels are seldom cubes, and turned ones must not be sheared.
        return (points / spacing.astype(np.float32) + centre.astype(np.float32)).astype(np.float32, copy=False)

    def _displacement(self, generator: np.random.Generator) -> npt.NDArray[np.float32]:
        """(z, y, x, 3) mm of a smooth random displacement."""
        knots = torch.from_numpy(generator.normal(0, self.deformation * self.strength * 0.6,
                                                  (1, 3, 4, 6, 7)).astype(np.float32))
        if self.in_plane:
            # The same for all slices: of three slices each would else go its own way.
            knots = knots[:, :, :1]
            knots[:, 0] = 0
        field = F.interpolate(knots, size=tuple(self.patch_zyx), mode="trilinear", align_corners=True)
        displacement: npt.NDArray[np.float32] = field[0].movedim(0, -1).numpy()
        return displacement

    def _intensities(self, patch: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        low, high = self.clip_hu
        if self.strength:
            gain, shift = generator.uniform(-1, 1, 2) * self.strength
            patch = patch * (1 + gain * self.hu_scale) + shift * self.hu_shift
        unit = (patch.clamp(low, high) - low) / (high - low)
        if self._changes_intensity():
            from monai.utils.type_conversion import convert_to_tensor

            changes = _monai_changes(self.intensity)
            changes.set_random_state(int(generator.integers(2**31)))
            # MONAI's own kind of tensor would follow the patch through network and losses, at a cost each time.
            unit = convert_to_tensor(changes(unit), track_meta=False).clamp(0, 1).float()
        return (unit * (high - low) + low - self.subtract) / self.divide


def _sampled_soft(soft: npt.NDArray[np.uint8], unit: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """(k, z, y, x) uint8: `soft` (k, ...) interpolated linearly at every `SOFT_STRIDE`-th point of `unit`
    (1, z, y, x, 3)."""
    lattice = tuple(slice(int(first), None, SOFT_STRIDE) for first in generator.integers(0, SOFT_STRIDE, 3))
    values = F.grid_sample(torch.from_numpy(soft.astype(np.float32))[None], unit[(slice(None), *lattice)],
                           mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    patch = torch.zeros((len(soft), *unit.shape[1:4]), dtype=torch.uint8)
    patch[(slice(None), *lattice)] = values.round().to(torch.uint8)
    return patch


def _monai_changes(chances: IntensityChances) -> Compose:
    """Noise, blur, thick slices, contrast and shading on intensities in 0..1."""
    # Here, as in the networks made of MONAI's parts: only who changes intensities waits for it.
    from monai.transforms.compose import Compose
    from monai.transforms.intensity.array import (
        RandAdjustContrast,
        RandBiasField,
        RandGaussianNoise,
        RandGaussianSmooth,
    )
    from monai.transforms.spatial.array import RandSimulateLowResolution

    return Compose([
        RandGaussianSmooth((0.3, 0.8), (0.3, 0.9), (0.3, 0.9), prob=chances.blur),
        RandSimulateLowResolution(prob=chances.thick_slices, zoom_range=(0.5, 1.0)),
        RandAdjustContrast(prob=chances.contrast, gamma=(0.85, 1.2)),
        RandBiasField(degree=2, coeff_range=(0.0, 0.06), prob=chances.shading),
        RandGaussianNoise(prob=chances.noise, std=0.05),
    ])


def _rotation(angles: Floats) -> Floats:
    """(3, 3) rotation in (z, y, x) order about z, y and x by `angles` radians."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = [number for number in range(3) if number != axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix
