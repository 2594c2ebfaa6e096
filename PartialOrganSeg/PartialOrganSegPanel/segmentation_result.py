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
    ours = [node for node in nodes if node.GetNodeReferenceID(role) == volume.GetID() and rows(node)
            and not node.GetHideFromEditors()]
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
    staged = _read(path, ct) if any(report["volume_ml"] for report in reports.values()) else _nothing()
    for number, organ in enumerate(organ for organ in organs if organ.name in reports):
        if staged.GetSegment(organ.name) is None:
            staged.AddEmptySegment(organ.name, organ.title, [c / 255 for c in organ.colour])
        staged.SetSegmentIndex(organ.name, number)
        segment = staged.GetSegment(organ.name)
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), terminology_tag(organ))
        mark_predicted(segment, organ.name, dict(reports[organ.name]))
    if target is None:
        return _new_node(volume, ct, staged)
    _replace(target.GetSegmentation(), staged, {one.organ: one.segment_id for one in rows(target)})
    del staged  # its end takes its segments out of the layer they share with the target's ...
    target.GetSegmentation().CollapseBinaryLabelmaps(False)  # ... and this puts them into one again
    return target


def _replace(segmentation: slicer.vtkSegmentation, staged: slicer.vtkSegmentation, earlier: Mapping[str, str]) -> None:
    """Puts the staged segments in the place of the earlier ones (organ to segment ID), or at the end."""
    for organ in staged.GetSegmentIDs():
        place = segmentation.GetNumberOfSegments()
        if organ in earlier:
            place = segmentation.GetSegmentIndex(earlier[organ])
            segmentation.RemoveSegment(earlier[organ])
        segment_id = segmentation.GenerateUniqueSegmentID(organ)
        segmentation.AddSegment(staged.GetSegment(organ), segment_id)
        segmentation.SetSegmentIndex(segment_id, place)


def _nothing() -> slicer.vtkSegmentation:
    """The segmentation of a CT without any organ; Slicer cannot read a file without segments."""
    segmentation = slicer.vtkSegmentation()
    segmentation.SetSourceRepresentationName(BINARY)
    return segmentation


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


def _new_node(volume: slicer.vtkMRMLScalarVolumeNode, ct: CtFile,
              segmentation: slicer.vtkSegmentation) -> slicer.vtkMRMLSegmentationNode:
    scene = slicer.mrmlScene
    name = _("{ct} segmentation").format(ct=volume.GetName())
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    node.SetAndObserveSegmentation(segmentation)
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
