"""Whether a segmentation lies where its CT does, whatever transforms the two are under."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError

from .ct_file import is_straight
from .segment_voxels import grid_shift
from .voxel_counts import labelmap


def lies_on_voxels(node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether voxels of the segmentation lie where those of the CT with their indices do, all transforms applied. Its
    layers count: the geometry that it remembers may be of before a transform."""
    segmentation = node.GetSegmentation()
    layers = {labelmap(segmentation.GetSegment(segment_id)) for segment_id in segmentation.GetSegmentIDs()} - {None}
    return any(grid_shift(layer, node, volume) == (0, 0, 0) for layer in layers)


def has_voxels(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether any segment has."""
    segmentation = node.GetSegmentation()
    return any(labelmap(segmentation.GetSegment(segment_id)) is not None
               for segment_id in segmentation.GetSegmentIDs())


def refuse_beside(node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Raises UserError for a segmentation that lies beside its CT, as only one of the two was put under a transform, or
    another one: what is written would be other tissue."""
    # of a CT that is bent the result lies in the room, without a transform
    if node.GetTransformNodeID() == volume.GetTransformNodeID() or not is_straight(volume):
        return
    if has_voxels(node) and not lies_on_voxels(node, volume):
        raise UserError(_("{segmentation} and {ct} are under different transforms, so that the organs lie beside the "
                          "CT. Put both under the same one in Slicer's module Transforms, or both under none.").format(
            segmentation=node.GetName(), ct=volume.GetName()))
