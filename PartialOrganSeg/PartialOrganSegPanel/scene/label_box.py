"""Organs of a segmentation in a box of a CT's voxels: read as label values, and changed where nobody else did.

A box is six whole numbers: first and last but one voxel along k, j and i, the axes of arrays.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from PartialOrganSegLib.errors import Code, UserError

from .segment_voxels import grid_shift
from .voxel_counts import BINARY, SCALARS, labelmap, voxel_array

Box = tuple[int, int, int, int, int, int]
Slices = tuple[slice, slice, slice]


def slices_of(box: Box) -> Slices:
    """What takes the box out of an array of the whole CT."""
    return slice(box[0], box[1]), slice(box[2], box[3]), slice(box[4], box[5])


def read_box(segmentation: slicer.vtkMRMLSegmentationNode, values: Mapping[str, int],
             volume: slicer.vtkMRMLScalarVolumeNode, box: Box) -> np.ndarray:
    """uint8 (z, y, x): which of the segments (ID to label value) has a voxel, 0 for none; the later one counts.

    Raises UserError where a segment lies on other voxels than the CT.
    """
    labels = np.zeros([box[1] - box[0], box[3] - box[2], box[5] - box[4]], np.uint8)
    for image, table in _tables(segmentation, values):
        of_labels, of_layer = _overlap(image, _shift(image, segmentation, volume), box)
        if of_labels is not None:
            numbers = table[voxel_array(image)[of_layer]]
            np.copyto(labels[of_labels], numbers, where=numbers > 0)
    return labels


def _tables(segmentation: slicer.vtkMRMLSegmentationNode,
            values: Mapping[str, int]) -> list[tuple[slicer.vtkOrientedImageData, np.ndarray]]:
    """Layers in the order of their segments, each with the number that every label value in it gets. Neighbours in one
    layer never overlap: they are read together."""
    tables: list[tuple[slicer.vtkOrientedImageData, np.ndarray]] = []
    for segment_id, value in values.items():
        segment = segmentation.GetSegmentation().GetSegment(segment_id)
        image = labelmap(segment)
        if image is None:
            continue
        if not tables or tables[-1][0] is not image:
            tables.append((image, np.zeros(1 << (8 * image.GetScalarSize()), np.uint8)))
        tables[-1][1][segment.GetLabelValue()] = value
    return tables


def change_box(segmentation: slicer.vtkMRMLSegmentationNode, values: Mapping[str, int],
               volume: slicer.vtkMRMLScalarVolumeNode, box: Box, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Gives the segments the voxels that `after` (z, y, x) has and `before` had not. Returns which voxels (bool) these
    were: one that is no longer as `before` says was edited meanwhile, and stays.

    Raises UserError, with nothing changed, where a segment lies on other voxels than the CT.
    """
    current = read_box(segmentation, values, volume, box)
    changed = (after != before) & (current == before)
    if not changed.any():
        return changed
    # a correction is much smaller than the box that it was looked for in
    inner, inner_box = _around(changed, box)
    part, part_before, part_after = changed[inner], current[inner], after[inner]
    for segment_id, value in values.items():
        _take(segmentation, segment_id, volume, inner_box, part & (part_before == value))
    for segment_id, value in values.items():
        _give(segmentation, segment_id, volume, inner_box, part & (part_after == value))
    segmentation.GetSegmentation().InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified)
    segmentation.Modified()
    return changed


def _around(mask: np.ndarray, box: Box) -> tuple[Slices, Box]:
    """Around the voxels of a mask (z, y, x), of which there is one: in the mask, and as a box of the CT."""
    slices, bounds = [], []
    for axis, start in enumerate(box[::2]):
        places = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        low, high = int(places[0]), int(places[-1]) + 1
        slices.append(slice(low, high))
        bounds += [start + low, start + high]
    return (slices[0], slices[1], slices[2]), (bounds[0], bounds[1], bounds[2], bounds[3], bounds[4], bounds[5])


def _shift(image: slicer.vtkOrientedImageData, segmentation: slicer.vtkMRMLSegmentationNode,
           volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[int, int, int]:
    shift = grid_shift(image, segmentation, volume)
    if shift is None:
        raise UserError(code=Code.GEOMETRY_DIFFERS, subject=segmentation.GetName(), expected="the CT's voxels",
                        found="others")
    return shift


def _overlap(image: slicer.vtkOrientedImageData, shift: tuple[int, int, int],
             box: Box) -> tuple[Slices | None, Slices]:
    """The part of the box that the layer has, in the box and in the layer; None where they do not meet."""
    extent = image.GetExtent()
    of_box, of_layer = [], []
    for axis, (low, high) in zip((2, 1, 0), (box[0:2], box[2:4], box[4:6]), strict=True):
        start, end = extent[2 * axis] + shift[axis], extent[2 * axis + 1] + shift[axis] + 1
        begin, stop = max(low, start), min(high, end)
        if begin >= stop:
            return None, (slice(0), slice(0), slice(0))
        of_box.append(slice(begin - low, stop - low))
        of_layer.append(slice(begin - start, stop - start))
    return (of_box[0], of_box[1], of_box[2]), (of_layer[0], of_layer[1], of_layer[2])


def _take(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, volume: slicer.vtkMRMLScalarVolumeNode,
          box: Box, mask: np.ndarray) -> None:
    """Takes the voxels from the segment, which has them all."""
    if not mask.any():
        return
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    image = labelmap(segment)
    of_box, of_layer = _overlap(image, _shift(image, segmentation, volume), box)
    voxels = voxel_array(image)[of_layer]
    voxels[mask[of_box] & (voxels == segment.GetLabelValue())] = 0
    image.Modified()


def _give(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, volume: slicer.vtkMRMLScalarVolumeNode,
          box: Box, mask: np.ndarray) -> None:
    """Gives the voxels, which no other organ has, to the segment: in its layer, which is made larger if it must be."""
    if not mask.any():
        return
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    if labelmap(segment) is None:
        _join_a_layer(segmentation, segment)
    image = labelmap(segment)
    if image is None:  # of the first organ that has a voxel
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        logic.SetBinaryLabelmapToSegment(_image_of(mask, segmentation, image, volume, box), segmentation, segment_id,
                                         logic.MODE_REPLACE)
        return
    of_box, _of_layer = _overlap(image, _shift(image, segmentation, volume), box)
    if of_box is None or np.count_nonzero(mask[of_box]) < np.count_nonzero(mask):
        larger = slicer.vtkOrientedImageData()
        slicer.vtkOrientedImageDataResample.PadImageToContainImage(
            image, _image_of(mask, segmentation, image, volume, box), larger)
        image.ShallowCopy(larger)  # into the object that all segments of the layer share
    of_box, of_layer = _overlap(image, _shift(image, segmentation, volume), box)
    voxels = voxel_array(image)[of_layer]
    # segments that are none of ours may share the layer: their voxels are theirs
    voxels[mask[of_box] & (voxels == 0)] = segment.GetLabelValue()
    image.Modified()


def _join_a_layer(segmentation: slicer.vtkMRMLSegmentationNode, segment: slicer.vtkSegment) -> None:
    """Lets a segment without a voxel share the layer of another one, where there is any."""
    segments = segmentation.GetSegmentation()
    everyone = [segments.GetSegment(segment_id) for segment_id in segments.GetSegmentIDs()]
    for neighbour in everyone:
        image = labelmap(neighbour)
        if image is None:
            continue
        taken = {shared.GetLabelValue() for shared in everyone if labelmap(shared) is image}
        free = next((value for value in range(1, 256) if value not in taken), None)
        if free is not None:
            segment.AddRepresentation(BINARY, image)
            segment.SetLabelValue(free)
            return


def _image_of(mask: np.ndarray, segmentation: slicer.vtkMRMLSegmentationNode,
              like: slicer.vtkOrientedImageData | None, volume: slicer.vtkMRMLScalarVolumeNode,
              box: Box) -> slicer.vtkOrientedImageData:
    """The voxels as an image of the segmentation: on the grid of `like`, else on the CT's."""
    image, shift = slicer.vtkOrientedImageData(), (0, 0, 0)
    if like is not None:
        shift = _shift(like, segmentation, volume)
        image.CopyDirections(like)
        image.SetOrigin(like.GetOrigin())
        image.SetSpacing(like.GetSpacing())
    else:
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        image.SetGeometryFromImageToWorldMatrix(matrix)
    extent = []
    for axis, (low, high) in zip((0, 1, 2), (box[4:6], box[2:4], box[0:2]), strict=True):
        extent += [low - shift[axis], high - shift[axis] - 1]
    image.SetExtent(extent)
    scalars = numpy_to_vtk(np.ascontiguousarray(mask).ravel().view(np.uint8), deep=True)
    scalars.SetName(SCALARS)
    image.GetPointData().SetScalars(scalars)
    return image
