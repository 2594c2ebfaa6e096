"""The working grid of a CT: where the network sees it, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .resampling import patient_aligned, resample_box, working_shape
from .upsampling import NativeLabels
from .volume import Grid

# Below this angle between voxel and patient axes (a tilted gantry) the network may as well work along the voxel axes.
TILT_DEGREES = 10.0


@dataclass(frozen=True)
class Frame:
    """The working grid of one CT: how it is read from the native box and how native labels are read from it."""

    box: tuple[slice, slice, slice]
    straight: tuple[int, int, int]  # shape after resampling along the voxel axes
    spacing_zyx: tuple[float, float, float]
    midline: float | None
    turned: tuple[int, int, int] | None = None  # shape along the patient's axes, for a tilted scan
    to_straight: np.ndarray | None = None  # (4, 4) turned index to straight index
    from_native: np.ndarray | None = None  # (4, 4) index in the box to turned index

    @classmethod
    def of(cls, grid: Grid, box: tuple[slice, slice, slice], midline: float | None,
           working_mm: tuple[float, float, float]) -> Frame:
        """The frame for the `box` of a canonical `grid`."""
        sizes = tuple(part.stop - part.start for part in box)
        spacing = grid.spacing[::-1]
        if grid.tilt_degrees() <= TILT_DEGREES:
            shape = working_shape(sizes, spacing, working_mm)
            mm = tuple(n * s / w for n, s, w in zip(sizes, spacing, shape, strict=True))
            if midline is not None:
                midline = (midline - box[2].start + 0.5) * shape[2] / sizes[2] - 0.5
            return cls(box, shape, mm, midline)
        # Thin voxels are averaged first, thick ones left alone: they are interpolated once, onto the patient's axes.
        shape = working_shape(sizes, spacing, tuple(max(s, w) for s, w in zip(spacing, working_mm, strict=True)))
        ratio = np.array([n / w for n, w in zip(sizes[::-1], shape[::-1], strict=True)])
        straight_to_box = np.eye(4)
        straight_to_box[:3, :3] = np.diag(ratio)
        straight_to_box[:3, 3] = (ratio - 1) / 2
        box_to_patient = grid.matrix.copy()
        box_to_patient[:3, 3] = (grid.matrix @ [*(part.start for part in box[::-1]), 1])[:3]
        corners = np.array([[x, y, z, 1] for x in (-0.5, sizes[2] - 0.5) for y in (-0.5, sizes[1] - 0.5)
                            for z in (-0.5, sizes[0] - 0.5)]).T
        low, high = (edge((box_to_patient @ corners)[:3], axis=1) for edge in (np.min, np.max))
        mm_xyz = np.array(working_mm[::-1])
        turned_xyz = np.maximum(1, np.ceil((high - low) / mm_xyz)).astype(int)
        turned_to_patient = np.diag([*mm_xyz, 1.0])
        turned_to_patient[:3, 3] = low + mm_xyz / 2
        return cls(box, shape, working_mm, None, tuple(int(n) for n in turned_xyz[::-1]),
                   np.linalg.inv(box_to_patient @ straight_to_box) @ turned_to_patient,
                   np.linalg.inv(turned_to_patient) @ box_to_patient)

    def to_patient(self, grid: Grid) -> np.ndarray:
        """(4, 4): index (z, y, x, 1) on the working grid to LPS millimetres (x, y, z, 1), for the canonical `grid`."""
        sizes = np.array([part.stop - part.start for part in self.box[::-1]])
        if self.from_native is None:
            ratio = sizes / np.array(self.straight[::-1])
            to_box = np.diag([*ratio, 1.0])
            to_box[:3, 3] = (ratio - 1) / 2
        else:
            to_box = np.linalg.inv(self.from_native)
        to_grid = np.eye(4)
        to_grid[:3, 3] = [part.start for part in self.box[::-1]]
        return (grid.matrix @ to_grid @ to_box)[:, [2, 1, 0, 3]]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) voxels of the working grid."""
        return self.straight if self.turned is None else self.turned

    def read(self, ct: np.ndarray) -> torch.Tensor:
        """float32 HU (z, y, x) at working spacing."""
        volume = resample_box(ct, self.box, self.straight)
        return volume if self.turned is None else patient_aligned(volume, self.to_straight, self.turned)

    def write(self, labels: NativeLabels, out: np.ndarray) -> None:
        """Fills the native box `out` (z, y, x)."""
        if self.turned is None:
            labels.write_aligned(out)
        else:
            labels.write_turned(out, self.from_native)
