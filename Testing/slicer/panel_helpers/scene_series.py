"""A CT of the scene as a DICOM series, as a scanner's archive has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import slicer.util

from Testing.helpers.dicom_files import write_slices

from .scenes import ijk_to_ras


def write_scene_series(volume: slicer.vtkMRMLScalarVolumeNode, folder: Path) -> None:
    """Its slices as files in `folder`; the scene's volume stays as it is."""
    affine = np.diag([-1, -1, 1, 1]) @ ijk_to_ras(volume)  # RAS to LPS
    array = slicer.util.arrayFromVolume(volume)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    positions = affine[:3, 3] + np.arange(len(array))[:, None] * affine[:3, 2]
    axes = affine[:3, :3] / spacing
    # What lies outside of a scanner's circle is below air in some archives, and unsigned files have no room for it.
    hu = np.maximum(np.rint(array), -1024).astype(np.int16)
    write_slices(folder, hu, axes=(axes[:, 0], axes[:, 1]), positions=positions,
                 pixel_mm=(float(spacing[1]), float(spacing[0])), step=float(spacing[2]))
