"""*Show only this organ*: hides the others in all views, follows the selection, and brings back what was shown."""

from __future__ import annotations

import slicer


class OnlyOrgan:
    """Of one segmentation at a time, held by node ID. Organs are hidden in the display alone: nothing is lost."""

    def __init__(self) -> None:
        self._node_id = ""
        self._shown: dict[str, bool] = {}  # as it was before

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
            self._shown = {other: bool(display.GetSegmentVisibility(other)) for other in ids}
        for other in ids:
            if bool(display.GetSegmentVisibility(other)) != (other == segment_id):
                display.SetSegmentVisibility(other, other == segment_id)

    def show_all(self) -> None:
        """Shows what was shown before. A segment that came meanwhile is shown."""
        node, shown = slicer.mrmlScene.GetNodeByID(self._node_id or "none"), self._shown
        self._node_id, self._shown = "", {}
        if node is None or node.GetDisplayNode() is None:
            return
        for segment_id in node.GetSegmentation().GetSegmentIDs():
            node.GetDisplayNode().SetSegmentVisibility(segment_id, shown.get(segment_id, True))
