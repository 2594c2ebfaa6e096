"""Whether a segmentation lies where its CT does, whatever transforms the two are under."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError

from .ct_file import is_straight
from .segment_voxels import grid_shift


def reference_geometry(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkOrientedImageData | None:
    """The grid of the CT that a segmentation remembers, None where it remembers none."""
    converter, image = slicer.vtkSegmentationConverter, slicer.vtkOrientedImageData()
    text = node.GetSegmentation().GetConversionParameter(converter.GetReferenceImageGeometryParameterName())
    if not converter.DeserializeImageGeometry(text, image, False):
        return None
    return image


def refuse_beside(node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Raises UserError for a segmentation that lies beside its CT, as only one of the two was put under a transform, or
    another one: what is written would be other tissue."""
    # of a CT that is bent the result lies in the room, without a transform
    if node.GetTransformNodeID() == volume.GetTransformNodeID() or not is_straight(volume):
        return
    geometry = reference_geometry(node)
    if geometry is not None and grid_shift(geometry, node, volume) != (0, 0, 0):
        raise UserError(_("{segmentation} and {ct} are under different transforms, so that the organs lie beside the "
                          "CT. Put both under the same one in Slicer's module Transforms, or both under none.").format(
            segmentation=node.GetName(), ct=volume.GetName()))
