"""Writes a CT of the scene as a file for the library: as displayed, that is with its transforms applied."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from .nrrd_pieces import slab_bounds, write_nrrd
from .voxel_counts import finished

RIGHT_ANGLE = 1e-3  # cosine between two voxel axes up to which they count as perpendicular
AIR_HU = -1024


@dataclass(frozen=True)
class CtFile:
    """A written CT. `size` is its voxels (i, j, k); a result on them lies where `ijk_to_ras` says, in the file it is
    where `ijk_to_file` says: as displayed.

    `follows_volume`: the result belongs under the volume's transform (and `ijk_to_ras` is the volume's own). False for
    a CT that had to be resampled: its result is in world coordinates. `note`: what was done, for the user, or empty.
    """

    path: Path
    size: tuple[int, int, int]
    ijk_to_ras: vtk.vtkMatrix4x4
    follows_volume: bool
    note: str
    ijk_to_file: vtk.vtkMatrix4x4


def write_ct(volume: slicer.vtkMRMLScalarVolumeNode, path: Path) -> CtFile:
    """Writes `volume` to `path` (.nrrd) at once. Raises OSError when that fails. The scene is left as it is."""
    return finished(write_ct_steps(volume, path))


def write_ct_steps(volume: slicer.vtkMRMLScalarVolumeNode, path: Path,
                   as_displayed: bool = True) -> Generator[None, None, CtFile]:
    """As `write_ct`, in pieces of some milliseconds. Raises OSError also when the CT is changed between two pieces.

    Not `as_displayed`: in its own coordinates, those of the patient where it is from DICOM, without its transforms.
    """
    ijk_to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(ijk_to_ras)
    world: vtk.vtkMatrix4x4 | None = ijk_to_ras
    if as_displayed or not _has_right_angles(ijk_to_ras):
        world = _ijk_to_world(volume, ijk_to_ras)
    if world is not None:
        image = volume.GetImageData()
        yield from _write(_slabs_of(volume), image, tuple(image.GetDimensions()), world, path)
        return CtFile(path, tuple(image.GetDimensions()), ijk_to_ras, True, _note_unchanged(volume),
                      world)
    reslice, grid, size = _resampling(volume)
    yield from _write(_resampled_slabs(reslice, size), volume.GetImageData(), size, grid, path)
    return CtFile(path, size, grid, False, _note_resampled(volume), grid)


def _slabs_of(volume: slicer.vtkMRMLScalarVolumeNode) -> Iterator[np.ndarray]:
    image = volume.GetImageData()
    modified, array = image.GetMTime(), slicer.util.arrayFromVolume(volume)
    for start, end in slab_bounds(array.shape, array.dtype.itemsize):
        if volume.GetImageData() is not image or image.GetMTime() != modified:
            raise OSError(_("{ct}: the CT was changed while it was written.").format(ct=volume.GetName()))
        yield array[start:end]


def _note_unchanged(volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    """What a user should know of a CT that was written on its own voxels."""
    transform = volume.GetParentTransformNode()
    if transform is None:
        return ""
    return _("The CT was segmented as displayed, with its transform {name} applied; the result is under the same "
             "transform.").format(name=transform.GetName())


def _note_resampled(volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Why a CT was resampled."""
    transform = volume.GetParentTransformNode()
    if transform is None:
        return _("The CT's voxel axes are not at right angles: it was resampled.")
    return _("The transform {name} bends or shears the CT: it was resampled as displayed.").format(
        name=transform.GetName())


def is_straight(volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether its voxels are a rectangular grid as displayed: no transform bends or shears it."""
    ijk_to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(ijk_to_ras)
    return _ijk_to_world(volume, ijk_to_ras) is not None


def _ijk_to_world(volume: slicer.vtkMRMLScalarVolumeNode, ijk_to_ras: vtk.vtkMatrix4x4) -> vtk.vtkMatrix4x4 | None:
    """Voxel indices to world, None where no rectangular grid describes that."""
    matrix = vtk.vtkMatrix4x4()
    transform = volume.GetParentTransformNode()
    if transform is not None:
        if not transform.IsTransformToWorldLinear():
            return None
        transform.GetMatrixTransformToWorld(matrix)
    vtk.vtkMatrix4x4.Multiply4x4(matrix, ijk_to_ras, matrix)
    if not _has_right_angles(matrix):
        return None
    return matrix


def _has_right_angles(matrix: vtk.vtkMatrix4x4) -> bool:
    """Whether its axes are perpendicular, as those of the library's grids are."""
    axes = slicer.util.arrayFromVTKMatrix(matrix)[:3, :3]
    cosines = axes / np.linalg.norm(axes, axis=0)
    return bool(np.abs(cosines.T @ cosines - np.eye(3)).max() < RIGHT_ANGLE)


def _resampling(volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[vtk.vtkImageReslice, vtk.vtkMatrix4x4,
                                                                tuple[int, int, int]]:
    """What makes the volume in world coordinates on an LPS grid of its own spacing, the grid's matrix to RAS and size.
    """
    bounds = np.zeros(6)
    volume.GetRASBounds(bounds)
    low, high = bounds[0::2], bounds[1::2]
    ijk_to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(ijk_to_ras)
    axes = slicer.util.arrayFromVTKMatrix(ijk_to_ras)[:3, :3]
    # each axis of the world takes the spacing of the voxel axis that is nearest to it
    spacing = np.linalg.norm(axes, axis=0)[np.abs(axes).argmax(axis=1)]
    size = np.maximum(1, np.ceil((high - low) / spacing)).astype(int)
    # LPS: left and posterior are the negative directions of RAS, so i and j run downwards; voxels are at their centres
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
    # a plain image, of spacing 1: all geometry is in the chain from the grid's indices to the volume's
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(volume.GetImageData())
    reslice.SetResliceTransform(chain)
    reslice.SetInterpolationModeToLinear()
    reslice.SetBackgroundLevel(AIR_HU)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputOrigin(0, 0, 0)
    return reslice, grid, (int(size[0]), int(size[1]), int(size[2]))


def _resampled_slabs(reslice: vtk.vtkImageReslice, size: tuple[int, int, int]) -> Iterator[np.ndarray]:
    itemsize = reslice.GetInput().GetScalarSize()
    for start, end in slab_bounds(size[::-1], itemsize):
        reslice.SetOutputExtent(0, size[0] - 1, 0, size[1] - 1, start, end - 1)
        reslice.Update()
        voxels = vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars())
        yield voxels.reshape(end - start, size[1], size[0])


def _write(slabs: Iterator[np.ndarray], image: vtk.vtkImageData, size: tuple[int, int, int],
           ijk_to_ras: vtk.vtkMatrix4x4, path: Path) -> Generator[None, None, None]:
    """`image` says of which type the voxels are."""
    dtype = vtk_to_numpy(image.GetPointData().GetScalars()).dtype
    try:
        yield from write_nrrd(path, size, dtype, ijk_to_ras, slabs)
    except OSError as error:
        if error.errno is None:  # a text of ours
            raise
        raise OSError(_("{folder}: the CT could not be written; is the disk full?").format(
            folder=path.parent)) from error
