"""What section Scribble says: how much is drawn, what it costs, and why a button cannot be pressed."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
from slicer.i18n import tr as _

from ..scene.stroke_counts import Cost, StrokeCounts


def drawn_text(volume: slicer.vtkMRMLScalarVolumeNode | None, counts: StrokeCounts, organs: int) -> str:
    """How far the strokes are."""
    if volume is None:
        return _("Choose a CT to draw on.")
    if not counts.total:
        return _("Nothing drawn yet. Choose an organ, press Paint and draw on the slices.")
    drawn = [name for name in counts.drawn if name != "background"]
    text = _("{drawn} of {all} organs drawn on {slices} slices, background on {background}.").format(
        drawn=len(drawn), all=organs, slices=len(counts.slices), background=len(counts.of.get("background", {})))
    return text


def uncounted_text(strokes: slicer.vtkMRMLSegmentationNode | None,
                   uncounted: Sequence[slicer.vtkMRMLSegmentationNode]) -> str:
    """Of several nodes of strokes, which one counts; `uncounted`: the others in which something is drawn."""
    if strokes is None or not uncounted:
        return ""
    return _("Only the latest strokes count, {latest}: those of {others} are neither drawn in nor learnt from.").format(
        latest=strokes.GetName(), others=_names(uncounted))


def saved_earlier_text(strokes: slicer.vtkMRMLSegmentationNode,
                       earlier: Sequence[slicer.vtkMRMLSegmentationNode]) -> str:
    """What was saved beside the strokes that count; empty where there is nothing else."""
    if not earlier:
        return ""
    return _("Only the latest strokes count, {latest}: those of {others} are in files of their own beside them, "
             "*_earlier*, and nothing is learnt from these.").format(
        latest=strokes.GetName(), others=_names(earlier))


def _names(nodes: Sequence[slicer.vtkMRMLSegmentationNode]) -> str:
    return ", ".join(node.GetName() for node in nodes)


def cost_text(cost: Cost | None) -> str:
    """What the strokes cost, empty when nothing is drawn."""
    if cost is None:
        return ""
    text = _("Drawn: {slices} of the voxels of these slices, {volume} of the CT").format(
        slices=_percent(cost.of_slices), volume=_percent(cost.of_volume))
    if cost.of_dense is not None:
        text += _(", {dense} of what painting all organs in full would take").format(dense=_percent(cost.of_dense))
    return text + "."


def _percent(share: float) -> str:
    if share < 0.1:
        return f"{100 * share:.2g} %"
    return f"{100 * share:.0f} %"


def reasons(volume: slicer.vtkMRMLScalarVolumeNode | None, strokes: slicer.vtkMRMLSegmentationNode | None,
            counts: StrokeCounts, organ: str, following: str | None) -> dict[str, str]:
    """Why the buttons (paint, erase, background, next, clear, undo, load, save, case) cannot be pressed; empty where
    they can. `organ` is selected, or empty; `following` is the next one without a stroke."""
    names = ("paint", "erase", "background", "next", "clear", "undo", "load", "save", "case")
    if volume is None:
        return dict.fromkeys(names, _("Choose a CT first."))
    if volume.GetImageData() is None or min(volume.GetImageData().GetDimensions()) < 2:
        return dict.fromkeys(names, _("The chosen volume has no voxels, or only one slice."))
    why = dict.fromkeys(names, "")
    nothing = ""
    if not counts.total:
        nothing = _("Nothing is drawn yet.")
    # strokes that are all erased can be undone, so only a missing node disables it
    if strokes is None:
        why["undo"] = nothing
    if not organ:
        why["paint"] = _("Select an organ in the table.")
    if following is None:
        why["next"] = _("Every organ has a stroke or is accepted or absent, and so has the background.")
    if not counts.voxels(organ):
        why["clear"] = _("The selected organ has no stroke.")
    return why | {"erase": nothing, "save": nothing, "case": nothing}


def tips() -> dict[str, str]:
    """What the buttons do."""
    return {
        "paint": _("Draws strokes of the selected organ on the slices; a later stroke wins (Shift+S)"),
        "erase": _("Erases strokes of every organ and of the background (Shift+E)"),
        "background": _("Draws strokes of what is no organ; pressed again, of the organ before (Shift+B)"),
        "next": _("Selects the next organ that has no stroke and is neither accepted nor absent, and jumps to where it "
                  "was predicted (Shift+O)"),
        "undo": _("Takes back the last stroke or other change (Shift+U)"),
        "clear": _("Removes all strokes of the selected organ"),
        "load": _("Loads strokes from a file: a label map on the CT's voxels with organ values, 0 for background and "
                  "255 where nothing is drawn"),
        "save": _("Saves the strokes to a file: a label map on the CT's voxels with organ values, 0 for background "
                  "and 255 where nothing is drawn"),
        "case": _("Saves the CT and its strokes in a folder, to learn from later or on another computer"),
    }
