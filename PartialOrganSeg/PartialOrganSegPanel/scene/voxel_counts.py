"""Counts voxels of segments, alone and against another segmentation of the same CT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

BINARY = "Binary labelmap"  # vtkSegmentationConverter's name of the representation
SCALARS = "ImageScalars"  # VTK's name of an image's voxels; a segment with others is empty to the DICOM SEG export
# Weights of a voxel's indices j and k in `Count.place`; i has weight 1. Primes, so that shifts do not cancel.
WEIGHT_J, WEIGHT_K = 1009.0, 100003.0


@dataclass(frozen=True)
class Count:
    """`voxels` of a segment and a fingerprint of where they are: the sum of weighted indices."""

    voxels: int
    place: float


EMPTY = Count(0, 0.0)


def labelmap(segment: slicer.vtkSegment) -> slicer.vtkOrientedImageData | None:
    """The layer that holds the segment, None for a segment without a voxel."""
    image = segment.GetRepresentation(BINARY)
    return None if image is None or image.IsEmpty() else image


def voxel_array(image: slicer.vtkOrientedImageData) -> np.ndarray:
    """A view (z, y, x) of the image's label values."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def layer_counts(image: slicer.vtkOrientedImageData) -> dict[int, Count]:
    """The count of every label value of a layer, slice by slice, so that no large array is made."""
    array, (i0, _, j0, _, k0, _) = voxel_array(image), image.GetExtent()
    size = int(array.max()) + 1
    depth, height, width = array.shape
    weights = (np.arange(i0, i0 + width) + WEIGHT_J * np.arange(j0, j0 + height)[:, None]).ravel()
    voxels, place = np.zeros(size, np.int64), np.zeros(size)
    for k in range(depth):
        values = array[k].ravel().astype(np.intp)
        if values.any():
            counts = np.bincount(values, minlength=size)
            voxels += counts
            place += np.bincount(values, weights, minlength=size) + WEIGHT_K * (k0 + k) * counts
    return {value: Count(int(voxels[value]), float(place[value])) for value in np.flatnonzero(voxels) if value}


def mask_in(segment: slicer.vtkSegment, extent: tuple[int, ...]) -> np.ndarray:
    """bool (z, y, x): the segment's voxels in a box of voxel indices (i0, i1, j0, j1, k0, k1) of its own layer."""
    mask = np.zeros([max(0, extent[end] - extent[end - 1] + 1) for end in (5, 3, 1)], bool)
    image = labelmap(segment)
    if image is None:
        return mask
    layer_extent = image.GetExtent()
    in_mask, in_layer = [], []
    for axis in (2, 1, 0):
        low = max(extent[2 * axis], layer_extent[2 * axis])
        high = min(extent[2 * axis + 1], layer_extent[2 * axis + 1]) + 1
        if high <= low:
            return mask
        in_mask.append(slice(low - extent[2 * axis], high - extent[2 * axis]))
        in_layer.append(slice(low - layer_extent[2 * axis], high - layer_extent[2 * axis]))
    mask[tuple(in_mask)] = voxel_array(image)[tuple(in_layer)] == segment.GetLabelValue()
    return mask


def on_grid_of(segment: slicer.vtkSegment, like: slicer.vtkOrientedImageData) -> slicer.vtkSegment:
    """`segment`, resampled to the voxels of `like` where the user has changed the geometry; else itself."""
    image = labelmap(segment)
    resampled = layer_on_grid_of(image, like) if image is not None else None
    if resampled is image:
        return segment
    copy = slicer.vtkSegment()
    copy.AddRepresentation(BINARY, resampled)
    copy.SetLabelValue(segment.GetLabelValue())
    return copy


def layer_on_grid_of(image: slicer.vtkOrientedImageData,
                     like: slicer.vtkOrientedImageData) -> slicer.vtkOrientedImageData:
    """A layer, resampled to the voxels of `like` where these are others; else itself."""
    if _same_voxels(image, like):
        return image
    resampled = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(image, like, resampled, False,
                                                                                     True)
    return resampled


def _same_voxels(one: slicer.vtkOrientedImageData, other: slicer.vtkOrientedImageData) -> bool:
    matrices = [vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()]
    one.GetImageToWorldMatrix(matrices[0])
    other.GetImageToWorldMatrix(matrices[1])
    return np.allclose(*map(slicer.util.arrayFromVTKMatrix, matrices), atol=1e-4)


def overlap(segment: slicer.vtkSegment, other: slicer.vtkSegment) -> int:
    """Number of voxels that both segments have, on the voxels of `segment`."""
    image = labelmap(segment)
    if image is None:
        return 0
    other = on_grid_of(other, image)
    if labelmap(other) is None:
        return 0
    extent = labelmap(other).GetExtent()
    return int(np.count_nonzero(mask_in(segment, extent) & mask_in(other, extent)))


def voxel_ml(segmentation: slicer.vtkMRMLSegmentationNode, segment: slicer.vtkSegment) -> float:
    """Volume of a voxel of the segment in ml, as displayed: under its linear transform. 0 for an empty segment."""
    image = labelmap(segment)
    if image is None:
        return 0.0
    matrix, transform = vtk.vtkMatrix4x4(), segmentation.GetParentTransformNode()
    image.GetImageToWorldMatrix(matrix)
    volume = abs(matrix.Determinant()) / 1000
    if transform is not None and transform.IsTransformToWorldLinear():
        transform.GetMatrixTransformToWorld(matrix)
        volume *= abs(matrix.Determinant())
    return volume
