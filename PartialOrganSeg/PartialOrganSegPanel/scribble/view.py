"""Shows the prediction dimly below the strokes, and brings its opacity back.

The opacity it had is kept in an attribute of its display node, so that it comes back even from a scene that was saved
meanwhile.
"""

from __future__ import annotations

import slicer
import slicer.util

SHARE = 0.3  # of the opacity that the user has chosen
_KEPT = "PartialOrganSeg.opacity"  # "fill outline" as they were


def show_dimly(only: slicer.vtkMRMLSegmentationNode | None) -> None:
    """Dims this segmentation's display on slices and brings every other one back; None: all."""
    dimmed = None
    if only is not None:
        dimmed = only.GetDisplayNode()
    for display in slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode"):
        earlier = display.GetAttribute(_KEPT)
        if display is dimmed and earlier is None:
            fill, outline = display.GetOpacity2DFill(), display.GetOpacity2DOutline()
            # !r: every digit, so that the very opacity comes back
            display.SetAttribute(_KEPT, f"{fill!r} {outline!r}")
            display.SetOpacity2DFill(fill * SHARE)
            display.SetOpacity2DOutline(outline * SHARE)
        elif display is not dimmed and earlier is not None:
            fill, outline = map(float, earlier.split())
            display.RemoveAttribute(_KEPT)
            display.SetOpacity2DFill(fill)
            display.SetOpacity2DOutline(outline)
