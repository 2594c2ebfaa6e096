"""Writes a CT of the scene as a file for the library: as displayed, that is with its transforms applied."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

RIGHT_ANGLE = 1e-3  # cosine between two voxel axes up to which they count as perpendicular
AIR_HU = -1024


@dataclass(frozen=True)
class CtFile:
    """A written CT. `size` is its voxels (i, j, k); a result on them lies where `ijk_to_ras` says.

    `follows_volume`: the result belongs under the volume's transform (and `ijk_to_ras` is the volume's own). False for
    a CT that had to be resampled: its result is in world coordinates. `note` tells the user what was done, or is empty.
    """

    path: Path
    size: tuple[int, int, int]
    ijk_to_ras: vtk.vtkMatrix4x4
    follows_volume: bool
    note: str


def write_ct(volume: slicer.vtkMRMLScalarVolumeNode, path: Path) -> CtFile:
    """Writes `volume` to `path` (.nrrd). Raises OSError when that fails. The scene is left as it is."""
    ijk_to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(ijk_to_ras)
    world = _ijk_to_world(volume, ijk_to_ras)
    transform = volume.GetParentTransformNode()
    name = transform.GetName() if transform else ""
    if world is not None:
        note = _("The CT was segmented as displayed, with its transform {name} applied; the result is under the same "
                 "transform.").format(name=name) if transform else ""
        _write(volume.GetImageData(), world, path)
        return CtFile(path, tuple(volume.GetImageData().GetDimensions()), ijk_to_ras, True, note)
    image, grid = _resampled(volume)
    note = (_("The transform {name} bends or shears the CT: it was resampled as displayed.").format(name=name)
            if transform else _("The CT's voxel axes are not at right angles: it was resampled."))
    _write(image, grid, path)
    return CtFile(path, tuple(image.GetDimensions()), grid, False, note)


def _ijk_to_world(volume: slicer.vtkMRMLScalarVolumeNode, ijk_to_ras: vtk.vtkMatrix4x4) -> vtk.vtkMatrix4x4 | None:
    """Voxel indices to world, None where no rectangular grid describes that."""
    matrix = vtk.vtkMatrix4x4()
    transform = volume.GetParentTransformNode()
    if transform is not None:
        if not transform.IsTransformToWorldLinear():
            return None
        transform.GetMatrixTransformToWorld(matrix)
    vtk.vtkMatrix4x4.Multiply4x4(matrix, ijk_to_ras, matrix)
    axes = slicer.util.arrayFromVTKMatrix(matrix)[:3, :3]
    cosines = axes / np.linalg.norm(axes, axis=0)
    return matrix if np.abs(cosines.T @ cosines - np.eye(3)).max() < RIGHT_ANGLE else None


def _resampled(volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[vtk.vtkImageData, vtk.vtkMatrix4x4]:
    """The volume in world coordinates on an LPS grid of its own spacing, with the grid's matrix to RAS."""
    bounds = np.zeros(6)
    volume.GetRASBounds(bounds)
    low, high = bounds[0::2], bounds[1::2]
    ijk_to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(ijk_to_ras)
    axes = slicer.util.arrayFromVTKMatrix(ijk_to_ras)[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)[np.abs(axes).argmax(axis=1)]
    size = np.maximum(1, np.ceil((high - low) / spacing)).astype(int)
    grid = vtk.vtkMatrix4x4()
    for axis, (step, start) in enumerate(zip(spacing * (-1, -1, 1), (high[0], high[1], low[2]), strict=True)):
        grid.SetElement(axis, axis, step)
        grid.SetElement(axis, 3, start + step / 2)
    to_ijk = vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(to_ijk)
    from_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, volume.GetParentTransformNode(), from_world)
    chain = vtk.vtkGeneralTransform()
    chain.PostMultiply()
    chain.Concatenate(grid)
    chain.Concatenate(from_world)
    chain.Concatenate(to_ijk)
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(volume.GetImageData())
    reslice.SetResliceTransform(chain)
    reslice.SetInterpolationModeToLinear()
    reslice.SetBackgroundLevel(AIR_HU)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputExtent(0, int(size[0]) - 1, 0, int(size[1]) - 1, 0, int(size[2]) - 1)
    reslice.Update()
    return reslice.GetOutput(), grid


def _write(image: vtk.vtkImageData, ijk_to_ras: vtk.vtkMatrix4x4, path: Path) -> None:
    node = slicer.vtkMRMLScalarVolumeNode()  # outside the scene
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(ijk_to_ras)
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetUseCompression(False)
    if not storage.WriteData(node):
        raise OSError(_("{folder}: the CT could not be written; is the disk full?").format(folder=path.parent))
