"""Strokes as a label map on a CT's voxels: organ values, 0 on a background stroke, 255 where nothing is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from PartialOrganSegLib.organs import BACKGROUND

from .segment_voxels import grid_shift
from .strokes import stroke_organs, stroke_segments
from .voxel_counts import BINARY, labelmap, voxel_array

NOT_DRAWN = 255  # as in PartialOrganSegLib.formats.strokes, which cannot be imported without pydantic


def scribble_labelmap(strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """uint8 (z, y, x) on the voxels of `volume`, the transforms of both taken into account."""
    segments, organs = stroke_segments(strokes), stroke_organs(strokes)
    drawn = {name: strokes.GetSegmentation().GetSegment(segment_id) for name, segment_id in segments.items()}
    drawn = {name: segment for name, segment in drawn.items() if labelmap(segment) is not None}
    image = _layer_on(volume, strokes, drawn.values())
    if image is not None:
        values = [segment.GetLabelValue() for segment in drawn.values()]
    else:
        image = _merged_on(volume, strokes, [segments[name] for name in drawn])
        values = range(1, len(drawn) + 1)
    label_values = _label_values(organs)
    meaning = np.full(NOT_DRAWN + 1, NOT_DRAWN, np.uint8)
    for name, value in zip(drawn, values, strict=True):
        meaning[value] = label_values[name]
    # the layer covers only the part of the CT that has strokes
    array = np.full(volume.GetImageData().GetDimensions()[::-1], NOT_DRAWN, np.uint8)
    if not image.IsEmpty():
        i0, i1, j0, j1, k0, k1 = image.GetExtent()
        array[k0:k1 + 1, j0:j1 + 1, i0:i1 + 1] = meaning[voxel_array(image)]
    return array


def _label_values(organs: Sequence[str]) -> dict[str, int]:
    """Of strokes in a scribble label map, by what they are of."""
    return {BACKGROUND: 0} | {organ: value for value, organ in enumerate(organs, 1)}


def _layer_on(volume: slicer.vtkMRMLScalarVolumeNode, strokes: slicer.vtkMRMLSegmentationNode,
              drawn: Iterable[slicer.vtkSegment]) -> slicer.vtkOrientedImageData | None:
    """The segments' one layer if it lies on the volume's very voxels; much quicker than merging the segments."""
    images = list({labelmap(segment) for segment in drawn})
    if len(images) != 1 or grid_shift(images[0], strokes, volume) != (0, 0, 0):
        return None
    size, extent = volume.GetImageData().GetDimensions(), images[0].GetExtent()
    # strokes may reach beyond the CT: the merged label map is cut off at its sides
    for low, high, length in zip(extent[::2], extent[1::2], size, strict=True):
        if low < 0 or high >= length:
            return None
    return images[0]


def _merged_on(volume: slicer.vtkMRMLScalarVolumeNode, strokes: slicer.vtkMRMLSegmentationNode,
               segment_ids: Iterable[str]) -> slicer.vtkOrientedImageData:
    """The segments on the volume's voxels with values 1, 2, ... in their order."""
    ids, image = vtk.vtkStringArray(), slicer.vtkOrientedImageData()
    for segment_id in segment_ids:
        ids.InsertNextValue(segment_id)
    slicer.vtkSlicerSegmentationsModuleLogic.GenerateMergedLabelmapInReferenceGeometry(
        strokes, volume, ids, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY, image)
    return image


def draw_labelmap(strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode,
                  labels: np.ndarray) -> None:
    """Replaces all strokes by those of a scribble label map on the voxels of `volume`, in one shared layer."""
    segments, organs = stroke_segments(strokes), stroke_organs(strokes)
    label_values = _label_values(organs)
    values = np.zeros(NOT_DRAWN + 1, np.uint8)
    for place, name in enumerate(segments, 1):
        values[label_values[name]] = place
    image = slicer.vtkOrientedImageData()
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    image.SetDimensions(volume.GetImageData().GetDimensions())
    image.SetGeometryFromImageToWorldMatrix(matrix)
    image.GetPointData().SetScalars(numpy_to_vtk(values[labels].ravel(), deep=True))
    segmentation = strokes.GetSegmentation()
    for place, segment_id in enumerate(segments.values(), 1):
        segment = segmentation.GetSegment(segment_id)
        segment.SetLabelValue(place)
        segment.AddRepresentation(BINARY, image)
    strokes.Modified()
