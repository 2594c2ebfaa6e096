"""Brings the library's .seg.nrrd into the scene: beside its CT, on its voxels, with codes, colours and checks."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organs import Organ

from .ct_file import CtFile
from .ct_tag import note_ct
from .organ_rows import DECIDED, mark_predicted, rows
from .seg_nrrd import UnreadableSegments, read_segments
from .subject_hierarchy import stand_beside
from .terminology import terminology_tag
from .voxel_counts import BINARY, finished, labelmap, layer_on_grid_of, values_in, voxel_array


class ResultError(UserError):
    """Why a result cannot be brought into the scene."""


def find_result(volume: slicer.vtkMRMLScalarVolumeNode,
                chosen: slicer.vtkMRMLSegmentationNode | None = None) -> slicer.vtkMRMLSegmentationNode | None:
    """The segmentation of ours that refers to this CT: of several the `chosen` one, or the latest."""
    results = find_results(volume)
    if chosen in results:
        return chosen
    if not results:
        return None
    return results[-1]


def find_results(volume: slicer.vtkMRMLScalarVolumeNode) -> list[slicer.vtkMRMLSegmentationNode]:
    """All segmentations of ours that refer to this CT, the latest last."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return [node for node in nodes if node.GetNodeReferenceID(role) == volume.GetID() and rows(node)
            and not node.GetHideFromEditors()]


def import_result(path: Path, volume: slicer.vtkMRMLScalarVolumeNode, ct: CtFile, organs: Sequence[Organ],
                  reports: Mapping[str, Mapping[str, Any]]) -> slicer.vtkMRMLSegmentationNode:
    """A result in a new segmentation, read at once and put by `put_result`, which see. Raises ResultError."""
    staged = finished(read_result(path, volume, ct, organs, reports))
    return put_result(staged, volume, ct, reports)


def put_result(staged: slicer.vtkSegmentation, volume: slicer.vtkMRMLScalarVolumeNode, ct: CtFile,
               reports: Mapping[str, Mapping[str, Any]],
               target: slicer.vtkMRMLSegmentationNode | None = None) -> slicer.vtkMRMLSegmentationNode:
    """The segmentation node that holds the `staged` result: `target`, whose segments of these organs are replaced,
    or a new one. `reports`: the run's entry of each organ."""
    for organ in staged.GetSegmentIDs():
        mark_predicted(staged.GetSegment(organ), organ, dict(reports[organ]))
    note_ct(staged, volume)
    node = target
    if target is None:
        node = new_node(volume, ct, staged, _("{ct} segmentation").format(ct=volume.GetName()))
    else:
        earlier: dict[str, list[str]] = {}  # somebody may have copied an organ from another segmentation
        for row in rows(target):
            earlier.setdefault(row.organ, []).append(row.segment_id)
        _replace(target.GetSegmentation(), staged, earlier)
        del staged  # its end takes its segments out of the layer they share with the target's ...
        target.GetSegmentation().CollapseBinaryLabelmaps(False)  # ... and this puts them into one again
    describe(node)
    return node


def describe(node: slicer.vtkMRMLSegmentationNode) -> None:
    """The node's description names the models that predicted its organs."""
    description = ""
    models = dict.fromkeys(row.model for row in rows(node) if row.model)
    if models:
        description = _("Predicted by {models}").format(models=", ".join(models))
    node.SetDescription(description)


def read_result(path: Path, volume: slicer.vtkMRMLScalarVolumeNode, ct: CtFile, organs: Sequence[Organ],
                reports: Mapping[str, Mapping[str, Any]]) -> Generator[None, None, slicer.vtkSegmentation]:
    """The segments of the organs in `reports`, with codes and in the order of `organs`; a piece takes milliseconds.

    Organs without a voxel become empty segments, so that they can be drawn or marked as absent. Raises ResultError.
    """
    # the CT's voxels may have been cropped or resampled while the run worked
    if ct.follows_volume and tuple(volume.GetImageData().GetDimensions()) != ct.size:
        raise ResultError(_("The CT was changed during the run; its result was dropped."))
    staged = _nothing()
    if any(report["volume_ml"] for report in reports.values()):
        try:
            staged = yield from read_segments(path, ct.size, ct.ijk_to_ras)
        except (OSError, UnreadableSegments) as error:
            raise ResultError(_("{path}: the result could not be read.").format(path=path)) from error
    for number, organ in enumerate(organ for organ in organs if organ.name in reports):
        if staged.GetSegment(organ.name) is None:
            staged.AddEmptySegment(organ.name, organ.title, [c / 255 for c in organ.colour])
        staged.SetSegmentIndex(organ.name, number)
        staged.GetSegment(organ.name).SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), terminology_tag(organ))
    return staged


def spare(staged: slicer.vtkSegmentation, target: slicer.vtkMRMLSegmentationNode,
          kept: Collection[str]) -> dict[str, int]:
    """Takes voxels out of the staged segments that organs of the target hold which stay as they are: the `kept` ones,
    which are left out of the staged ones, and whatever was accepted and is not among the staged ones. Gives how many
    voxels each of these has kept from the staged ones."""
    for organ in kept:
        staged.RemoveSegment(organ)
    new = set(staged.GetSegmentIDs())
    layers: dict[slicer.vtkOrientedImageData, dict[int, str]] = {}  # organs share layers, of which each is read once
    for row in rows(target):
        segment = target.GetSegmentation().GetSegment(row.segment_id)
        if (row.organ in kept or (row.state in DECIDED and row.organ not in new)) and labelmap(segment) is not None:
            layers.setdefault(labelmap(segment), {})[segment.GetLabelValue()] = row.organ
    held: dict[str, int] = {}
    # erased in the layers themselves, which several segments share
    for image in {labelmap(staged.GetSegment(organ)) for organ in new} - {None}:
        voxels = voxel_array(image)
        for layer, organs in layers.items():
            values = values_in(layer_on_grid_of(layer, image), image.GetExtent())
            taken = (voxels != 0) & np.isin(values, list(organs))
            for value, number in zip(*np.unique(values[taken], return_counts=True), strict=True):
                held[organs[int(value)]] = held.get(organs[int(value)], 0) + int(number)
            voxels[taken] = 0
        image.Modified()
    return held


def _replace(segmentation: slicer.vtkSegmentation, staged: slicer.vtkSegmentation,
             earlier: Mapping[str, Sequence[str]]) -> None:
    """Puts each staged segment in the place of the earlier ones of its organ (their IDs), or at the end. It is called
    and coloured as the first of these: the user may have chosen that."""
    for organ in staged.GetSegmentIDs():
        place = segmentation.GetNumberOfSegments()
        # another ID than the earlier one's, under which its prediction and its times are kept: undo brings it back
        segment_id = segmentation.GenerateUniqueSegmentID(organ)
        if organ in earlier:
            place = segmentation.GetSegmentIndex(earlier[organ][0])
            before = segmentation.GetSegment(earlier[organ][0])
            staged.GetSegment(organ).SetName(before.GetName())
            staged.GetSegment(organ).SetColor(before.GetColor())
        for earlier_id in earlier.get(organ, ()):
            segmentation.RemoveSegment(earlier_id)
        segmentation.AddSegment(staged.GetSegment(organ), segment_id)
        segmentation.SetSegmentIndex(segment_id, place)


def _nothing() -> slicer.vtkSegmentation:
    """The segmentation of a CT without any organ; Slicer cannot read a file without segments."""
    segmentation = slicer.vtkSegmentation()
    segmentation.SetSourceRepresentationName(BINARY)
    return segmentation


def new_node(volume: slicer.vtkMRMLScalarVolumeNode, ct: CtFile, segmentation: slicer.vtkSegmentation,
             name: str) -> slicer.vtkMRMLSegmentationNode:
    """A node for a segmentation on a CT that was written as `ct`: beside it, on its geometry, under its transform."""
    scene = slicer.mrmlScene
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    node.SetAndObserveSegmentation(segmentation)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    if ct.follows_volume:
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    stand_beside(node, volume)
    return node


def show_3d(node: slicer.vtkMRMLSegmentationNode, on: bool) -> None:
    """Shows the organs as surfaces in the 3D views, or hides them. Raises ResultError when no surface can be made."""
    if on and not node.CreateClosedSurfaceRepresentation():
        raise ResultError(_("The surfaces could not be made: no organ has a voxel."))
    node.GetDisplayNode().SetVisibility3D(on)
