"""The working grid of a CT: where the network sees it, and back."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch

from .resampling import patient_aligned, resample_box, working_shape
from .shapes import Affine, Box3, LabelMap, Shape3, Spacing3, VoxelArray
from .upsampling import NativeLabels
from .volume import Grid

# Below this angle between voxel and patient axes (a tilted gantry) the network may as well work along the voxel axes.
TILT_DEGREES = 10.0


@dataclass(frozen=True)
class Turn:
    """How the working grid of a tilted scan, which follows the patient's axes, lies to the voxel axes.

    `shape`: its size (z, y, x). `to_straight`: (4, 4), its index (x, y, z, 1) to that on the box resampled along the
    voxel axes. `from_native`: (4, 4), index in the native box to its own.
    """

    shape: Shape3
    to_straight: Affine
    from_native: Affine


@dataclass(frozen=True)
class WorkingGrid:
    """The working grid of one CT: how it is read from the native box and how native labels are read from it.

    `straight`: shape (z, y, x) after resampling the `box` along the voxel axes. `midline`: x of the mid-sagittal plane
    in its voxels. `turn` is None unless the scan is tilted.
    """

    box: Box3
    straight: Shape3
    spacing_zyx: Spacing3
    midline: float | None
    turn: Turn | None = None

    @classmethod
    def of(cls, grid: Grid, box: Box3, midline: float | None, working_mm: Spacing3) -> WorkingGrid:
        """The working grid for the `box` of a canonical `grid`, with voxels of about `working_mm` (z, y, x)."""
        if grid.tilt_degrees() > TILT_DEGREES:
            return cls._along_the_patient(grid, box, working_mm)
        sizes = _sizes(box)
        shape = working_shape(sizes, grid.spacing[::-1], working_mm)
        z_mm, y_mm, x_mm = (np.array(sizes) * grid.spacing[::-1] / shape).tolist()
        if midline is not None:
            midline = (midline - box[2].start + 0.5) * shape[2] / sizes[2] - 0.5
        return cls(box, shape, (z_mm, y_mm, x_mm), midline)

    @classmethod
    def _along_the_patient(cls, grid: Grid, box: Box3, working_mm: Spacing3) -> WorkingGrid:
        """The working grid of a tilted scan: the smallest one along the patient's axes that holds the box."""
        sizes = _sizes(box)
        # Thin voxels are averaged first, thick ones left alone: they are interpolated once, onto the patient's axes.
        averaged_mm = np.maximum(grid.spacing[::-1], working_mm).tolist()
        straight = working_shape(sizes, grid.spacing[::-1], averaged_mm)
        straight_to_box = _between_voxel_sizes(sizes, straight)
        box_to_patient = grid.matrix @ _shift_of(box)
        edges = [(-0.5, size - 0.5) for size in sizes[::-1]]
        corners = np.array([(*corner, 1.0) for corner in itertools.product(*edges)]).T
        in_patient = (box_to_patient @ corners)[:3]
        low, high = in_patient.min(axis=1), in_patient.max(axis=1)
        mm_xyz = np.array(working_mm[::-1])
        x, y, z = np.maximum(1, np.ceil((high - low) / mm_xyz)).astype(int).tolist()
        turned_to_patient = np.diag([*mm_xyz, 1.0])
        turned_to_patient[:3, 3] = low + mm_xyz / 2
        turn = Turn(shape=(z, y, x), to_straight=np.linalg.inv(box_to_patient @ straight_to_box) @ turned_to_patient,
                    from_native=np.linalg.inv(turned_to_patient) @ box_to_patient)
        # The midline is known in voxels of the scan only, which it is not parallel to here.
        return cls(box, straight, working_mm, None, turn)

    def to_patient(self, grid: Grid) -> Affine:
        """(4, 4): index (z, y, x, 1) on the working grid to LPS millimetres (x, y, z, 1), for the canonical `grid`."""
        if self.turn is None:
            to_box: Affine = _between_voxel_sizes(_sizes(self.box), self.straight)
        else:
            to_box = np.linalg.inv(self.turn.from_native)
        to_patient: Affine = grid.matrix @ _shift_of(self.box) @ to_box
        return to_patient[:, [2, 1, 0, 3]]

    @property
    def shape(self) -> Shape3:
        """(z, y, x) voxels of the working grid."""
        return self.straight if self.turn is None else self.turn.shape

    @property
    def is_turned(self) -> bool:
        """Whether it follows the patient's axes because the scan is tilted."""
        return self.turn is not None

    def read(self, ct: VoxelArray) -> torch.Tensor:
        """float32 HU (z, y, x) at working spacing."""
        volume = resample_box(ct, self.box, self.straight)
        if self.turn is None:
            return volume
        return patient_aligned(volume, self.turn.to_straight, self.turn.shape)

    def write(self, labels: NativeLabels, out: LabelMap) -> None:
        """Fills the native box `out` (z, y, x)."""
        if self.turn is None:
            labels.write_aligned(out)
        else:
            labels.write_turned(out, self.turn.from_native)


def _sizes(box: Box3) -> Shape3:
    z, y, x = (part.stop - part.start for part in box)
    return z, y, x


def _between_voxel_sizes(sizes: Shape3, shape: Shape3) -> Affine:
    """Index (x, y, z, 1) on a grid of `shape` voxels to that on one of `sizes` voxels with the same edges."""
    ratio = np.array(sizes[::-1]) / np.array(shape[::-1])
    matrix: Affine = np.diag([*ratio, 1.0])
    matrix[:3, 3] = (ratio - 1) / 2
    return matrix


def _shift_of(box: Box3) -> Affine:
    """Index (x, y, z, 1) in a box to that in the whole array."""
    matrix = np.eye(4)
    matrix[:3, 3] = [part.start for part in box[::-1]]
    return matrix
