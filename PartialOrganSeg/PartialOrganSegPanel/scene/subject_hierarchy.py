"""Where nodes of ours stand in the subject hierarchy: beside their CT, in its study."""

from __future__ import annotations

import slicer


def stand_beside(node: slicer.vtkMRMLNode, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Puts a node beside its CT. Of a CT from DICOM the slices' UIDs are noted with it, as for a loaded DICOM SEG, so
    that the node's series is known to refer to them even when the CT is not in the scene."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    beside, item = hierarchy.GetItemByDataNode(volume), hierarchy.GetItemByDataNode(node)
    # a node that is hidden from users has no item
    if not (beside and item):
        return
    hierarchy.SetItemParent(item, hierarchy.GetItemParent(beside))
    instances = volume.GetAttribute("DICOM.instanceUIDs")
    if instances:
        name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMReferencedInstanceUIDsAttributeName()
        hierarchy.SetItemAttribute(item, name, instances)
