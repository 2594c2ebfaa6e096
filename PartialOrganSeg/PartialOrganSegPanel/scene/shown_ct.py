"""The CT that a user most likely means: the one in the slice views, or the only one there is."""

from __future__ import annotations

import slicer
import slicer.util


def shown_ct() -> slicer.vtkMRMLScalarVolumeNode | None:
    """None where the views show none or several, and the scene holds several."""
    # the background of a slice view is what a user calls "the image"; all three views may show different ones
    candidates = possible_cts()
    shown = {node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}
    shown &= set(candidates)
    if len(shown) == 1:
        return candidates[shown.pop()]
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    return None


def possible_cts() -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
    """All volumes of the scene that may be CTs, by their node IDs."""
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return {volume.GetID(): volume for volume in volumes if _may_be_ct(volume)}


def _may_be_ct(volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether it is a visible volume of one number a voxel; a label map is not one, though its class is derived."""
    if volume.GetClassName() != "vtkMRMLScalarVolumeNode" or volume.GetHideFromEditors():
        return False
    image = volume.GetImageData()
    return image is not None and min(image.GetDimensions()) > 1
