"""A segmentation remembers the CT that it was made on, in tags of its segments: saved in .mrb and .seg.nrrd."""

from __future__ import annotations

from urllib.parse import quote, unquote

import slicer
import slicer.util
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import Code, UserError

from .alignment import refuse_beside
from .ct_identity import CtIdentity, ct_identity
from .organ_rows import tag
from .subject_hierarchy import stand_beside

_CT = "PartialOrganSeg.Ct"


def note_ct(segmentation: slicer.vtkSegmentation, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Notes in every segment which CT it is of."""
    text = quote(ct_identity(volume).text())  # quoted: the file separates tags by | and :
    for segment_id in segmentation.GetSegmentIDs():
        segmentation.GetSegment(segment_id).SetTag(_CT, text)


def is_of_another_ct(node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether a segment says that it was made on another CT; two patients' CTs may have one name and one geometry.
    False where nothing was noted, as in files of older versions."""
    noted = _noted(node)
    if not noted:
        return False
    of_volume = ct_identity(volume)
    return not all(identity.same_as(of_volume) for identity in noted)


def link_to_ct(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The CT that a segmentation refers to. One from a .seg.nrrd, which refers to none, is linked to the CT of the
    scene that it was made on, so that exports take its study and its geometry; None where that is not in the scene."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    referenced = node.GetNodeReference(role)
    noted = _noted(node)
    if referenced is not None or not noted:
        return referenced
    # all segments must agree: a user may have copied one from another patient's segmentation
    for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if volume.GetImageData() is not None and all(identity.same_as(ct_identity(volume)) for identity in noted):
            node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
            stand_beside(node, volume)
            return volume
    return None


def why_no_ct(node: slicer.vtkMRMLSegmentationNode) -> str:
    """Why there is no CT to look at a segmentation on and to write it with; empty when there is one."""
    volume = link_to_ct(node)
    if volume is None:
        return _("The CT of this segmentation is not in the scene.")
    if volume.GetImageData() is None:
        return _("{ct} has no voxels: its file was not found or could not be read.").format(ct=volume.GetName())
    return ""


def misses_its_ct(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether the CT that a segmentation says it was made on is not in the scene. Any other is another patient's, or
    other voxels. One that says nothing, as in files of older versions, may be of any CT."""
    return bool(_noted(node)) and link_to_ct(node) is None


def _noted(node: slicer.vtkMRMLSegmentationNode) -> list[CtIdentity]:
    """What the segments of a segmentation say of their CT."""
    segmentation = node.GetSegmentation()
    texts = {tag(segmentation.GetSegment(segment_id), _CT) for segment_id in segmentation.GetSegmentIDs()}
    identities = [CtIdentity.parsed(unquote(text)) for text in texts if text]
    return [identity for identity in identities if identity is not None]


def refuse_another_ct(node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Raises UserError for a segmentation that was made on another CT, or that lies beside this one."""
    if is_of_another_ct(node, volume):
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=node.GetName(), found=_("one of another CT"),
                        expected=_("a segmentation of {ct}").format(ct=volume.GetName()))
    refuse_beside(node, volume)
