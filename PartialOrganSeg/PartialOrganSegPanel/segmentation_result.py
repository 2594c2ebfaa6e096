"""Brings the library's .seg.nrrd into the scene: beside its CT, on its voxels, with codes, colours and checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.organs import Organ

from .ct_file import CtFile
from .segment_table import mark_predicted, rows
from .terminology import terminology_tag

BINARY = "Binary labelmap"  # vtkSegmentationConverter's name of the representation


class ResultError(Exception):
    """Why a result cannot be brought into the scene."""


def find_result(volume: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode | None:
    """The latest segmentation of ours that refers to this CT."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    ours = [node for node in nodes if node.GetNodeReferenceID(role) == volume.GetID() and rows(node)]
    return ours[-1] if ours else None


def import_result(path: Path, volume: slicer.vtkMRMLScalarVolumeNode, ct: CtFile, organs: Sequence[Organ],
                  reports: Mapping[str, Mapping[str, Any]],
                  target: slicer.vtkMRMLSegmentationNode | None = None) -> slicer.vtkMRMLSegmentationNode:
    """The segmentation node that holds the result for `organs`: `target`, whose segments of these organs are replaced,
    or a new one. Organs without a voxel become empty segments, so that they can be drawn or marked as absent.

    Raises ResultError before anything in the scene has changed.
    """
    if ct.follows_volume and tuple(volume.GetImageData().GetDimensions()) != ct.size:
        raise ResultError(_("The CT was changed during the run; its result was dropped."))
    staged = _read(path, ct)
    node = target or _new_node(volume, ct)
    segmentation = node.GetSegmentation()
    selection = [organ for organ in organs if organ.name in reports]
    was_modifying = node.StartModify()
    for one in rows(node):
        if one.organ in reports:
            segmentation.RemoveSegment(one.segment_id)
    for organ in selection:
        segment = staged.GetSegment(organ.name)
        if segment is None:
            segment_id = segmentation.AddEmptySegment(segmentation.GenerateUniqueSegmentID(organ.name), organ.title,
                                                      [c / 255 for c in organ.colour])
        else:
            segment_id = segmentation.GenerateUniqueSegmentID(organ.name)
            segmentation.AddSegment(segment, segment_id)
        segment = segmentation.GetSegment(segment_id)
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), terminology_tag(organ))
        mark_predicted(segment, organ.name, dict(reports[organ.name]))
    segmentation.CollapseBinaryLabelmaps(False)
    node.EndModify(was_modifying)
    return node


def _read(path: Path, ct: CtFile) -> slicer.vtkSegmentation:
    """The file's segments, read in a scene of their own, on the CT's very matrix instead of the file's rounded one."""
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        raise ResultError(_("{path}: the result could not be read.").format(path=path))
    segmentation = node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        labelmap = segmentation.GetSegment(segment_id).GetRepresentation(BINARY)
        labelmap.SetGeometryFromImageToWorldMatrix(ct.ijk_to_ras)
    return segmentation


def _new_node(volume: slicer.vtkMRMLScalarVolumeNode, ct: CtFile) -> slicer.vtkMRMLSegmentationNode:
    scene = slicer.mrmlScene
    name = _("{ct} segmentation").format(ct=volume.GetName())
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    if ct.follows_volume:
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    beside = hierarchy.GetItemByDataNode(volume)
    item = hierarchy.GetItemByDataNode(node)
    if beside and item:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(beside))
    return node


def show_3d(node: slicer.vtkMRMLSegmentationNode, on: bool) -> None:
    """Shows the organs as surfaces in the 3D views, or hides them. Raises ResultError when no surface can be made."""
    if on and not node.CreateClosedSurfaceRepresentation():
        raise ResultError(_("The surfaces could not be made: no organ has a voxel."))
    node.GetDisplayNode().SetVisibility3D(on)
