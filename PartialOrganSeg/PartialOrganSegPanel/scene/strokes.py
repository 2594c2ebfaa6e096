"""The strokes on a CT: a segmentation of their own with a segment for each organ and one for the background.

Which organ a segment is of, and the label space, stand in tags of the segments: saved in .mrb and .seg.nrrd.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote, unquote

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from PartialOrganSegLib.organs import BACKGROUND, Organ

from .alignment import lies_on_voxels
from .ct_tag import is_of_another_ct, note_ct
from .organ_rows import tag
from .subject_hierarchy import stand_beside
from .voxel_counts import BINARY

BACKGROUND_COLOUR = (255, 0, 255)  # no organ has it, and no tissue
_STROKE = "PartialOrganSeg.Stroke"  # an organ's name or BACKGROUND
_ORGANS = "PartialOrganSeg.StrokeOrgans"  # the label space: all organs in the order of their label values


def stroke_organs(strokes: slicer.vtkMRMLSegmentationNode) -> tuple[str, ...]:
    """The organs' names in the order of their label values 1, 2, ...; empty when the node holds no strokes of ours."""
    segmentation = strokes.GetSegmentation()
    # in every segment, since the user may delete any
    for segment_id in segmentation.GetSegmentIDs():
        text = tag(segmentation.GetSegment(segment_id), _ORGANS)
        if text:
            return tuple(json.loads(unquote(text)))
    return ()


def stroke_segments(strokes: slicer.vtkMRMLSegmentationNode) -> dict[str, str]:
    """Organ (or background) to segment ID, in the order of the segments; users may have deleted some."""
    segmentation = strokes.GetSegmentation()
    named = ((tag(segmentation.GetSegment(segment_id), _STROKE), segment_id)
             for segment_id in segmentation.GetSegmentIDs())
    return {name: segment_id for name, segment_id in named if name}


def find_strokes(volume: slicer.vtkMRMLScalarVolumeNode | None) -> slicer.vtkMRMLSegmentationNode | None:
    """The latest strokes on this CT, as in `find_all_strokes`: those that are drawn in and learnt from."""
    return next(reversed(find_all_strokes(volume)), None)


def find_all_strokes(volume: slicer.vtkMRMLScalarVolumeNode | None) -> list[slicer.vtkMRMLSegmentationNode]:
    """All nodes of strokes on this CT, the latest last, put under its transform. Strokes that refer to no CT, from a
    .seg.nrrd, are on it if they were drawn on it or, from an older version that did not note that, if they lie on its
    voxels."""
    if volume is None:
        return []
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    nodes = [node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if stroke_organs(node)]
    # a .seg.nrrd holds no reference to a node, so loaded strokes are linked here
    for node in nodes:
        if node.GetNodeReferenceID(role) is None and _lies_on(node, volume) and not is_of_another_ct(node, volume):
            node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    on_this_ct = [node for node in nodes if node.GetNodeReferenceID(role) == volume.GetID()]
    for node in on_this_ct:
        follow_transform(node, volume)
    return on_this_ct


def _lies_on(strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether the geometry that the segmentation remembers is that of the volume."""
    converter, image = slicer.vtkSegmentationConverter, slicer.vtkOrientedImageData()
    text = strokes.GetSegmentation().GetConversionParameter(converter.GetReferenceImageGeometryParameterName())
    if volume.GetImageData() is None or not converter.DeserializeImageGeometry(text, image, False):
        return False
    volume_matrix, strokes_matrix = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(volume_matrix)
    image.GetImageToWorldMatrix(strokes_matrix)
    matrices = [slicer.util.arrayFromVTKMatrix(matrix) for matrix in (volume_matrix, strokes_matrix)]
    return (tuple(image.GetDimensions()) == tuple(volume.GetImageData().GetDimensions())
            and np.allclose(*matrices, atol=1e-3))


def new_strokes(volume: slicer.vtkMRMLScalarVolumeNode, organs: Sequence[Organ]) -> slicer.vtkMRMLSegmentationNode:
    """Strokes on a CT, none drawn yet: beside it in the subject hierarchy and under its transform."""
    scene = slicer.mrmlScene
    name = scene.GenerateUniqueName(_("{ct} strokes").format(ct=volume.GetName()))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.GetSegmentation().SetSourceRepresentationName(BINARY)
    node.CreateDefaultDisplayNodes()
    # a stroke is thin: more opaque than a segmentation, so that it is seen on bright tissue
    node.GetDisplayNode().SetOpacity2DFill(0.8)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    follow_transform(node, volume)
    names = [organ.name for organ in organs]
    for organ in organs:
        _add_segment(node, organ.name, organ.colour, names)
    _add_segment(node, BACKGROUND, BACKGROUND_COLOUR, names)
    note_ct(node.GetSegmentation(), volume)
    stand_beside(node, volume)
    return node


def follow_transform(strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Keeps the strokes under the transform of their CT, unless that was hardened in the CT alone: then they lie where
    the CT does under the transform that they have."""
    if strokes.GetTransformNodeID() == volume.GetTransformNodeID():
        return
    hardened = (volume.GetTransformNodeID() is None and strokes.GetTransformNodeID() is not None
                and lies_on_voxels(strokes, volume))
    if not hardened:
        strokes.SetAndObserveTransformNodeID(volume.GetTransformNodeID())


def stroke_segment(strokes: slicer.vtkMRMLSegmentationNode, name: str, colour: tuple[int, int, int]) -> str:
    """ID of the segment for strokes of an organ or the background; made anew where it was deleted."""
    segments = stroke_segments(strokes)
    return segments.get(name) or _add_segment(strokes, name, colour, list(stroke_organs(strokes)))


def _add_segment(strokes: slicer.vtkMRMLSegmentationNode, name: str, colour: Sequence[int],
                 organs: Sequence[str]) -> str:
    segmentation = strokes.GetSegmentation()
    title = name.replace("_", " ")
    if name == BACKGROUND:
        title = _("background")
    segment_id = segmentation.AddEmptySegment(segmentation.GenerateUniqueSegmentID(name), title,
                                              [value / 255 for value in colour])
    segment = segmentation.GetSegment(segment_id)
    segment.SetTag(_STROKE, name)
    segment.SetTag(_ORGANS, quote(json.dumps(list(organs))))  # quoted: the file separates tags by | and :
    return segment_id
