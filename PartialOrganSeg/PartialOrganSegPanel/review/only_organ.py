"""*Show only this organ*: hides the others in all views, follows the selection, and brings back what was shown."""

from __future__ import annotations

import json
from urllib.parse import quote, unquote

import slicer

_SHOWN = "PartialOrganSeg.Shown"  # attribute of a segmentation while organs are hidden: which were shown before


class OnlyOrgan:
    """Of one segmentation at a time, held by node ID. Organs are hidden in the display alone: nothing is lost. What was
    shown is kept with the node, so that `show_again` finds it when the scene was saved meanwhile."""

    def __init__(self) -> None:
        self._node_id = ""

    @property
    def on(self) -> bool:
        return bool(self._node_id)

    def show(self, node: slicer.vtkMRMLSegmentationNode, segment_id: str) -> None:
        """Shows one segment alone."""
        if self._node_id != node.GetID():
            self.show_all()
        display = node.GetDisplayNode()
        ids = node.GetSegmentation().GetSegmentIDs()
        if not self._node_id:
            self._node_id = node.GetID()
            shown = {other: bool(display.GetSegmentVisibility(other)) for other in ids}
            node.SetAttribute(_SHOWN, quote(json.dumps(shown)))  # quoted: the file separates attributes by ; and :
        for other in ids:
            if bool(display.GetSegmentVisibility(other)) != (other == segment_id):
                display.SetSegmentVisibility(other, other == segment_id)

    def show_all(self) -> None:
        """Shows what was shown before. A segment that came meanwhile is shown."""
        node = slicer.mrmlScene.GetNodeByID(self._node_id or "none")
        self._node_id = ""
        if node is not None:
            show_again(node)


def show_again(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Shows what was shown before organs were hidden; leaves a segmentation without hidden organs alone."""
    text, display = node.GetAttribute(_SHOWN), node.GetDisplayNode()
    if not text:
        return
    node.RemoveAttribute(_SHOWN)
    if display is None:
        return
    shown = json.loads(unquote(text))
    for segment_id in node.GetSegmentation().GetSegmentIDs():
        display.SetSegmentVisibility(segment_id, shown.get(segment_id, True))
