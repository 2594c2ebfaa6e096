"""Whether a user works on another segmentation while a CT is segmented: no result takes it away under their hands."""

from __future__ import annotations

from dataclasses import dataclass

import slicer
import slicer.util

from ..scene.organ_versions import moment


@dataclass(frozen=True)
class AtStart:
    """The segmentation that section Review looked at when a run began, and what it was like then."""

    segmentation_id: str
    moment: tuple[object, ...]

    @classmethod
    def of(cls, node: slicer.vtkMRMLSegmentationNode | None) -> AtStart:
        """None: nothing was looked at."""
        if node is None:
            return cls("", ())
        return cls(node.GetID(), moment(node))

    def works_on(self, node: slicer.vtkMRMLSegmentationNode | None, volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Whether the user works on `node` by now, and does not wait for the result of `volume`: they have chosen,
        edited or decided something in it since, draw in it, or look at its CT alone."""
        if node is None:
            return False
        return AtStart.of(node) != self or _is_drawn_in(node) or _is_looked_at(node, volume)


def _is_drawn_in(node: slicer.vtkMRMLSegmentationNode) -> bool:
    editors = slicer.util.getNodesByClass("vtkMRMLSegmentEditorNode")
    return any(editor.GetActiveEffectName() and editor.GetSegmentationNode() is node for editor in editors)


def _is_looked_at(node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether the slice views show the CT of the segmentation and not the other one."""
    ct_id = node.GetNodeReferenceID(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())
    shown = {view.GetBackgroundVolumeID() for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}
    return ct_id in shown and volume.GetID() not in shown
