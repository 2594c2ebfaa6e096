"""Counts what is drawn, by organ and axial slice, and what that is of the work of a dense annotation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import slicer
import slicer.util
import vtk

from .organ_rows import rows
from .strokes import stroke_segments
from .voxel_counts import labelmap, voxel_array


@dataclass(frozen=True)
class StrokeCounts:
    """`of[name][slice]`: voxels drawn of an organ or the background on an axial slice, where there are any."""

    of: dict[str, dict[int, int]] = field(default_factory=dict)

    def voxels(self, name: str) -> int:
        """Voxels drawn of one organ, or of the background."""
        return sum(self.of.get(name, {}).values())

    @property
    def drawn(self) -> list[str]:
        """What has a stroke."""
        return [name for name, slices in self.of.items() if slices]

    @property
    def total(self) -> int:
        """Voxels drawn."""
        return sum(map(self.voxels, self.of))

    @property
    def slices(self) -> list[int]:
        """Axial slices with a stroke."""
        return sorted(set().union(*self.of.values()))


def axial_axis(volume: slicer.vtkMRMLScalarVolumeNode) -> int:
    """The volume's voxel axis (0, 1, 2 for i, j, k) nearest to the patient's head-foot direction."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASDirectionMatrix(matrix)
    return int(np.abs(slicer.util.arrayFromVTKMatrix(matrix)[2, :3]).argmax())


def count_strokes(strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> StrokeCounts:
    """The strokes by organ and axial slice; slices are numbered along the volume's axis from 0."""
    axis = axial_axis(volume)
    segmentation = strokes.GetSegmentation()
    counts: dict[str, dict[int, int]] = {}
    layers: dict[slicer.vtkOrientedImageData, dict[int, Counter[int]]] = {}
    for name, segment_id in stroke_segments(strokes).items():
        segment = segmentation.GetSegment(segment_id)
        image = labelmap(segment)
        if image is None:
            counts[name] = {}
            continue
        if image not in layers:
            layers[image] = _by_slice(image, axis)
        value = segment.GetLabelValue()
        counts[name] = {at: voxels[value] for at, voxels in layers[image].items() if voxels[value]}
    return StrokeCounts(counts)


def _by_slice(image: slicer.vtkOrientedImageData, axis: int) -> dict[int, Counter[int]]:
    """Slice number to label value to voxels; slices without a stroke, nearly all, are only looked at."""
    first = image.GetExtent()[2 * axis]
    # the array's axes are (k, j, i), the reverse of the volume's
    pages = np.moveaxis(voxel_array(image), 2 - axis, 0)
    by_slice = {}
    for at, page in enumerate(pages, first):
        if page.any():
            values, voxels = np.unique(page[page > 0], return_counts=True)
            by_slice[at] = Counter(dict(zip(values.tolist(), voxels.tolist(), strict=True)))
    return by_slice


@dataclass(frozen=True)
class Cost:
    """Share of the voxels that are drawn: of the annotated slices, of the CT, and of what a dense annotation of all
    organs would paint (Luo 2021, 4.3: below 4 %), which the prediction estimates; None without one."""

    of_slices: float
    of_volume: float
    of_dense: float | None


def annotation_cost(counts: StrokeCounts, volume: slicer.vtkMRMLScalarVolumeNode,
                    result: slicer.vtkMRMLSegmentationNode | None) -> Cost | None:
    """What the strokes cost, None when nothing is drawn."""
    if not counts.total:
        return None
    size = volume.GetImageData().GetDimensions()
    voxels = int(np.prod(size))
    # all axial slices have the same number of voxels
    of_slices = counts.total / (len(counts.slices) * voxels // size[axial_axis(volume)])
    predicted_ml, of_dense = 0.0, None
    if result is not None:
        predicted_ml = sum(row.predicted_ml or 0 for row in rows(result))
    if predicted_ml:
        drawn_ml = counts.total * float(np.prod(volume.GetSpacing())) / 1000
        of_dense = drawn_ml / predicted_ml
    return Cost(of_slices, counts.total / voxels, of_dense)


def slice_at_hand(volume: slicer.vtkMRMLScalarVolumeNode) -> int | None:
    """Number of the axial slice that the views show, None when no view shows one of the volume."""
    axis = axial_axis(volume)
    to_ijk = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, volume.GetParentTransformNode(), to_ijk)
    matrix = vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(matrix)
    to_ijk.PostMultiply()
    to_ijk.Concatenate(matrix)
    best, along = None, 0.0
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        plane = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
        origin = plane[:3, 3]
        step = np.subtract(to_ijk.TransformPoint(origin + plane[:3, 2]), to_ijk.TransformPoint(origin))
        # of several views the one that looks most along the axis; the first of equal ones, whatever the rounding
        share = abs(step[axis]) / np.linalg.norm(step)
        if share > along + 1e-6:
            best, along = round(to_ijk.TransformPoint(origin)[axis]), share
    if best is None or not 0 <= best < volume.GetImageData().GetDimensions()[axis]:
        return None
    return best
