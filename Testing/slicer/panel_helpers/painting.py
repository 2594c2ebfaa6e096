"""Paints as the segment editor's effects do: into the labelmap, and with the events that the editor sends."""

from __future__ import annotations

from typing import Any

import slicer
from PartialOrganSegPanel.scene.voxel_counts import voxel_array
from PartialOrganSegPanel.scribble.editor import ERASE


def paint(section: Any, where: Any) -> None:
    """One undoable stroke in section Strokes by the tool at hand, which paints or erases: the voxels `where`, an index
    of the CT's array (z, y, x)."""
    widget = section.editor.widget
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    logic.SetSegmentEditorNode(widget.mrmlSegmentEditorNode())
    widget.saveStateForUndo()
    logic.UpdateReferenceGeometryImage()
    logic.ResetModifierLabelmapToDefault()
    brush = logic.GetModifierLabelmap()
    voxel_array(brush)[where] = 1
    brush.Modified()
    mode = logic.ModificationModeAdd
    if section.editor.tool == ERASE:
        mode = logic.ModificationModeRemoveAll
    logic.ModifySegmentByLabelmap(section.at_hand.strokes, widget.currentSegmentID(), brush, mode, False, False)
