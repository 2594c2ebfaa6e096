"""Two segmentations over a CT, before and after fine-tuning, as outlines; other segmentations stand back.

Overlays are no results: nothing in them is reviewed or learnt from. Attributes mark them, also in a loaded scene.
"""

from __future__ import annotations

from collections.abc import Collection

import slicer
import slicer.util
from slicer.i18n import tr as _

from ..scene.ct_file import CtFile
from ..scene.segmentation_result import new_node

BEFORE, AFTER = "before", "after"
_OVERLAY = "PartialOrganSeg.Overlay"  # attribute of a segmentation: BEFORE or AFTER
_HIDDEN = "PartialOrganSeg.HiddenByOverlay"  # attribute of the display of a segmentation that was visible
_LINES = {BEFORE: 1, AFTER: 3}  # thickness in pixels
WHITE = (1.0, 1.0, 1.0)  # of all organs before, so that the colours of those after stand out


def overlays() -> dict[str, slicer.vtkMRMLSegmentationNode]:
    """The overlays of the scene."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return {node.GetAttribute(_OVERLAY): node for node in nodes if node.GetAttribute(_OVERLAY)}


def add_overlay(moment: str, volume: slicer.vtkMRMLScalarVolumeNode, ct: CtFile, segmentation: slicer.vtkSegmentation,
                shown: Collection[str]) -> slicer.vtkMRMLSegmentationNode:
    """Shows a segmentation as `BEFORE` or `AFTER`; organs that are not `shown` are there, but invisible."""
    titles = {BEFORE: _("{ct} before fine-tuning"), AFTER: _("{ct} after fine-tuning")}
    node = new_node(volume, ct, segmentation, titles[moment].format(ct=volume.GetName()))
    node.SetAttribute(_OVERLAY, moment)
    display = node.GetDisplayNode()
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)
    display.SetSliceIntersectionThickness(_LINES[moment])
    for organ in segmentation.GetSegmentIDs():
        display.SetSegmentVisibility(organ, organ in shown)
        if moment == BEFORE:
            display.SetSegmentOverrideColor(organ, *WHITE)
    return node


def bring_to_front(volume: slicer.vtkMRMLScalarVolumeNode, organs: Collection[str]) -> None:
    """Shows the CT on all slices, at the first of the organs that an overlay has. All other segmentations are hidden:
    those of other CTs lie in the same views."""
    shown = overlays()
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        display = node.GetDisplayNode()
        if display and display.GetVisibility() and not node.GetAttribute(_OVERLAY):
            display.SetVisibility(False)
            display.SetAttribute(_HIDDEN, "yes")
    for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        node.SetBackgroundVolumeID(volume.GetID())
    # the new model's first: an organ that it has learnt may be missing before
    for node in (shown[moment] for moment in (AFTER, BEFORE) if moment in shown):
        for organ in organs:
            centre = node.GetSegmentCenterRAS(organ)
            if centre is not None:
                slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *centre)
                return


def remove_overlays() -> None:
    """Removes the overlays, and shows again what they hid."""
    for node in overlays().values():
        slicer.mrmlScene.RemoveNode(node)
    show_hidden()


def show_hidden() -> None:
    """Shows again what overlays hid."""
    for display in slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode"):
        if display.GetAttribute(_HIDDEN):
            display.RemoveAttribute(_HIDDEN)
            display.SetVisibility(True)
