"""Voxels of segments as arrays, in boxes of their layers, and against another segmentation of the same CT."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

SMALL = 1 << 22  # voxels
BINARY = "Binary labelmap"  # vtkSegmentationConverter's name of the representation
SCALARS = "ImageScalars"  # VTK's name of an image's voxels; a segment with others is empty to the DICOM SEG export
Box = tuple[int, int, int, int, int, int]
Result = TypeVar("Result")

def labelmap(segment: slicer.vtkSegment) -> slicer.vtkOrientedImageData | None:
    """The layer that holds the segment, None for a segment without a voxel."""
    image = segment.GetRepresentation(BINARY)
    if image is None or image.IsEmpty():
        return None
    return image


def is_small(volume: slicer.vtkOrientedImageData) -> bool:
    """Whether all voxels can be looked at within one step of the window."""
    return int(np.prod(volume.GetDimensions())) <= SMALL


def voxel_array(image: slicer.vtkOrientedImageData) -> np.ndarray:
    """A view (z, y, x) of the image's label values."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def finished(work: Generator[None, None, Result]) -> Result:
    """Does work that comes in pieces at once; gives what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def mask_in(segment: slicer.vtkSegment, extent: tuple[int, ...]) -> np.ndarray:
    """bool (z, y, x): the segment's voxels in a box of voxel indices (i0, i1, j0, j1, k0, k1) of its own layer."""
    image = labelmap(segment)
    if image is None:
        return np.zeros(_shape(extent), bool)
    return values_in(image, extent) == segment.GetLabelValue()


def values_in(image: slicer.vtkOrientedImageData, extent: tuple[int, ...]) -> np.ndarray:
    """The label values (z, y, x) of a layer in a box of its voxel indices; 0 beyond the layer. Not to be written to."""
    # both boxes overlap in a part of either: only that part is copied
    layer_extent = image.GetExtent()
    in_box, in_layer = [], []
    for axis in (2, 1, 0):
        low = max(extent[2 * axis], layer_extent[2 * axis])
        high = min(extent[2 * axis + 1], layer_extent[2 * axis + 1]) + 1
        in_box.append(slice(low - extent[2 * axis], max(low, high) - extent[2 * axis]))
        in_layer.append(slice(low - layer_extent[2 * axis], max(low, high) - layer_extent[2 * axis]))
    array, shape = voxel_array(image), _shape(extent)
    part = array[tuple(in_layer)]
    if part.shape == shape:
        return part
    values = np.zeros(shape, array.dtype)
    if part.size:
        values[tuple(in_box)] = part
    return values


def layer_slices(image: slicer.vtkOrientedImageData, box: tuple[int, ...]) -> tuple[slice, slice, slice] | None:
    """What takes a box of voxel indices out of `voxel_array` of a layer; None where the layer does not hold all of it.
    """
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    if box[0] < i0 or box[1] > i1 or box[2] < j0 or box[3] > j1 or box[4] < k0 or box[5] > k1:
        return None
    return (slice(box[4] - k0, box[5] - k0 + 1), slice(box[2] - j0, box[3] - j0 + 1),
            slice(box[0] - i0, box[1] - i0 + 1))


def _shape(extent: tuple[int, ...]) -> tuple[int, int, int]:
    depth, height, width = (max(0, extent[end] - extent[end - 1] + 1) for end in (5, 3, 1))
    return depth, height, width


def on_grid_of(segment: slicer.vtkSegment, like: slicer.vtkOrientedImageData) -> slicer.vtkSegment:
    """`segment`, resampled to the voxels of `like` where the user has changed the geometry; else itself."""
    image = labelmap(segment)
    if image is None:
        return segment
    resampled = layer_on_grid_of(image, like)
    if resampled is image:
        return segment
    copy = slicer.vtkSegment()
    copy.AddRepresentation(BINARY, resampled)
    copy.SetLabelValue(segment.GetLabelValue())
    return copy


def layer_on_grid_of(image: slicer.vtkOrientedImageData,
                     like: slicer.vtkOrientedImageData) -> slicer.vtkOrientedImageData:
    """A layer, resampled to the voxels of `like` where these are others; else itself."""
    if have_same_voxels(image, like):
        return image
    resampled = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(image, like, resampled, False,
                                                                                     True)
    return resampled


def have_same_voxels(first: slicer.vtkOrientedImageData, second: slicer.vtkOrientedImageData) -> bool:
    """Whether equal indices are equal places, whatever the extents."""
    matrices = [vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()]
    first.GetImageToWorldMatrix(matrices[0])
    second.GetImageToWorldMatrix(matrices[1])
    return np.allclose(*map(slicer.util.arrayFromVTKMatrix, matrices), atol=1e-4)


def overlap(segment: slicer.vtkSegment, compared: slicer.vtkSegment) -> int:
    """Number of voxels that both segments have, on the voxels of `segment`."""
    image = labelmap(segment)
    if image is None:
        return 0
    compared = on_grid_of(compared, image)
    compared_image = labelmap(compared)
    if compared_image is None:
        return 0
    extent = compared_image.GetExtent()
    return int(np.count_nonzero(mask_in(segment, extent) & mask_in(compared, extent)))


def voxel_ml(segmentation: slicer.vtkMRMLSegmentationNode, segment: slicer.vtkSegment) -> float:
    """Volume of a voxel of the segment in ml, as displayed: under its linear transform. 0 for an empty segment."""
    image = labelmap(segment)
    if image is None:
        return 0.0
    # a determinant is the volume of a voxel, in mm3, or the factor by which a transform changes it
    matrix, transform = vtk.vtkMatrix4x4(), segmentation.GetParentTransformNode()
    image.GetImageToWorldMatrix(matrix)
    volume = abs(matrix.Determinant()) / 1000
    if transform is not None and transform.IsTransformToWorldLinear():
        transform.GetMatrixTransformToWorld(matrix)
        volume *= abs(matrix.Determinant())
    return volume
