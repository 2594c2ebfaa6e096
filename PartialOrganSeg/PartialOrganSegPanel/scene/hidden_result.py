"""A result that comes while the user looks at another patient: not drawn over that one's CT until it is chosen."""

from __future__ import annotations

import slicer

_HIDDEN = "PartialOrganSeg.HiddenUntilChosen"  # attribute of the display of a segmentation, saved with the scene


def hide_until_chosen(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Takes a segmentation out of the views."""
    node.GetDisplayNode().SetVisibility(False)
    node.GetDisplayNode().SetAttribute(_HIDDEN, "yes")


def show_chosen(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Shows a segmentation that was hidden so; leaves one that the user has hidden alone."""
    display = node.GetDisplayNode()
    if display is not None and display.GetAttribute(_HIDDEN):
        display.RemoveAttribute(_HIDDEN)
        display.SetVisibility(True)
