"""Strokes as a label map on a CT's voxels: organ values, 0 on a background stroke, 255 where nothing is drawn."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from PartialOrganSegLib.organs import BACKGROUND

from .label_file import label_slabs
from .nrrd_pieces import slab_bounds
from .strokes import stroke_organs, stroke_segments
from .voxel_counts import BINARY, SCALARS, finished

NOT_DRAWN = 255  # as in PartialOrganSegLib.formats.strokes, which cannot be imported without pydantic


def scribble_labelmap(strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """uint8 (z, y, x) on the voxels of `volume`, the transforms of both taken into account."""
    return np.concatenate(list(scribble_slabs(strokes, volume)))


def scribble_slabs(strokes: slicer.vtkMRMLSegmentationNode,
                   volume: slicer.vtkMRMLScalarVolumeNode) -> Iterator[np.ndarray]:
    """The same in slabs of slices. Raises ChangedMeanwhile when something is drawn between two of them."""
    return label_slabs([(strokes, segment_values(strokes))], volume, NOT_DRAWN)


def segment_values(strokes: slicer.vtkMRMLSegmentationNode) -> dict[str, int]:
    """Segment ID to value in a scribble label map."""
    values = _label_values(stroke_organs(strokes))
    return {segment_id: values[name] for name, segment_id in stroke_segments(strokes).items()}


def _label_values(organs: Sequence[str]) -> dict[str, int]:
    """Of strokes in a scribble label map, by what they are of."""
    return {BACKGROUND: 0} | {organ: value for value, organ in enumerate(organs, 1)}


def draw_labelmap(strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode,
                  labels: np.ndarray) -> None:
    """Replaces all strokes by those of a scribble label map on the voxels of `volume`, in one shared layer."""
    put_layer(strokes, finished(stroke_layer(strokes, volume, labels)))


def stroke_layer(strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode, labels: np.ndarray,
                 over_strokes: bool = False) -> Generator[None, None, slicer.vtkOrientedImageData]:
    """The layer that `put_layer` puts in the place of the strokes, made in pieces of milliseconds. `over_strokes`: the
    strokes stay where the label map has none; raises ChangedMeanwhile then when something is drawn meanwhile."""
    label_values, values = _label_values(stroke_organs(strokes)), np.zeros(NOT_DRAWN + 1, np.uint8)
    for place, name in enumerate(stroke_segments(strokes), 1):
        values[label_values[name]] = place
    image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    image.SetDimensions(volume.GetImageData().GetDimensions())
    image.SetGeometryFromImageToWorldMatrix(matrix)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    scalars = image.GetPointData().GetScalars()
    scalars.SetName(SCALARS)
    layer = vtk_to_numpy(scalars).reshape(labels.shape)
    current = iter(())
    if over_strokes:
        current = scribble_slabs(strokes, volume)
    for start, end in slab_bounds(labels.shape, 1):
        slab = labels[start:end]
        if over_strokes:
            slab = np.where(slab == NOT_DRAWN, next(current), slab)
        np.take(values, slab, out=layer[start:end], mode="clip")  # else NumPy makes a copy
        yield
    return image


def put_layer(strokes: slicer.vtkMRMLSegmentationNode, image: slicer.vtkOrientedImageData) -> None:
    """Gives all strokes the one layer."""
    segmentation = strokes.GetSegmentation()
    for place, segment_id in enumerate(stroke_segments(strokes).values(), 1):
        segment = segmentation.GetSegment(segment_id)
        segment.SetLabelValue(place)
        segment.AddRepresentation(BINARY, image)
    strokes.Modified()
