"""A segment's voxels on the grid of a volume: copied where the grids are one, since resampling rounds."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import vtk

from .voxel_counts import labelmap, mask_in

_MOVED = 0.02  # voxels that the far corner of a grid may be off and it still counts as the same


def segment_array(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str,
                  volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """bool (z, y, x): the volume's voxels that are in the segment, the transforms of both taken into account."""
    segment, size = segmentation.GetSegmentation().GetSegment(segment_id), volume.GetImageData().GetDimensions()
    image = labelmap(segment)
    if image is None:
        return np.zeros(size[::-1], bool)
    shift = grid_shift(image, segmentation, volume)
    if shift is None:
        return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, volume) > 0
    # the volume's first and last voxel of each axis, in the indices of the layer
    box = []
    for length, offset in zip(size, shift, strict=True):
        box += [-offset, length - 1 - offset]
    return mask_in(segment, tuple(box))


def grid_shift(image: slicer.vtkOrientedImageData, segmentation: slicer.vtkMRMLSegmentationNode,
               volume: slicer.vtkMRMLVolumeNode) -> tuple[int, int, int] | None:
    """Whole voxels (i, j, k) to add to the indices of a layer of the segmentation to get those of the volume.

    None where the two are no shifted copies of one grid. Two nodes under equal transforms are under the same one.
    """
    layer_matrix, volume_matrix = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(layer_matrix)
    volume.GetIJKToRASMatrix(volume_matrix)
    matrices = [slicer.util.arrayFromVTKMatrix(matrix) for matrix in (layer_matrix, volume_matrix)]
    if segmentation.GetTransformNodeID() != volume.GetTransformNodeID():
        transforms = [_to_world(segmentation), _to_world(volume)]
        if any(transform is None for transform in transforms):
            return None
        matrices = [transform @ matrix for transform, matrix in zip(transforms, matrices, strict=True)]
    change = np.linalg.solve(matrices[1], matrices[0])
    shift = np.rint(change[:3, 3])
    # an error of the axes is largest at the corner farthest from the first voxel
    corner = np.array(image.GetDimensions(), float)
    moved = np.abs(change[:3, :3] - np.eye(3)) @ corner + np.abs(change[:3, 3] - shift)
    if moved.max() >= _MOVED:
        return None
    return tuple(map(int, shift))


def _to_world(node: slicer.vtkMRMLTransformableNode) -> np.ndarray | None:
    """4x4 from the node's coordinates to world, None for a transform that is not linear."""
    transform, matrix = node.GetParentTransformNode(), vtk.vtkMatrix4x4()
    if transform is not None:
        if not transform.IsTransformToWorldLinear():
            return None
        transform.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)
