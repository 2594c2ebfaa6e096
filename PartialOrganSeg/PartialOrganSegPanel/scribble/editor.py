"""Slicer's paint and erase effects for the strokes: a segment editor without its own buttons."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import slicer.util
import vtk
from slicer.util import VTKObservationMixin

from ..scene.editor_node import editor_node

PAINT, ERASE = "Paint", "Erase"
_TAG = "PartialOrganSegScribble"  # singleton tag of the editor's parameter node
_DIAMETER = "BrushAbsoluteDiameter"
# a brush in mm, flat and in slice views only: strokes are counted by axial slice; the eraser is of all organs
_SETTINGS = {"BrushDiameterIsRelative": "0", "BrushSphere": "0", "BrushPixelMode": "0", "EditIn3DViews": "0",
             "Paint.ColorSmudge": "0", "Erase.EraseAllSegments": "1"}


class StrokeEditor(VTKObservationMixin):
    """A flat brush in mm that takes voxels from every other segment: a later stroke wins.

    `widget` is the hidden segment editor, `changed` is called when the effect or its brush changed, also by keys and
    wheel in the views. Only one segment editor of the scene works at a time: the one that was activated last.
    """

    def __init__(self, widget: slicer.qMRMLSegmentEditorWidget, changed: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self.widget = widget
        self._changed = changed
        self._node: slicer.vtkMRMLSegmentEditorNode | None = None
        widget.setMRMLScene(slicer.mrmlScene)
        widget.setVisible(False)

    def bind(self) -> None:
        """Takes the scene's parameter node for the editor, or makes it."""
        self.removeObservers()
        self._node = node = editor_node(_TAG)
        self.widget.setMRMLSegmentEditorNode(node)
        # the settings of the stroke convention, whatever the scene was saved with
        node.SetOverwriteMode(node.OverwriteAllSegments)
        node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
        node.SetSourceVolumeIntensityMask(False)
        for name, value in _SETTINGS.items():
            node.SetAttribute(name, value)
        for event in (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLSegmentEditorNode.EffectParameterModified):
            self.addObserver(node, event, self._modified)

    def unbind(self) -> None:
        """Stops, and lets go of the strokes."""
        self.stop()
        self.widget.setSegmentationNode(None)
        self.removeObservers()

    @property
    def tool(self) -> str:
        """The active effect, empty when there is none."""
        if self._node is None:
            return ""
        return self._node.GetActiveEffectName() or ""

    @property
    def brush_mm(self) -> float:
        """Diameter of the brush, 0 while unknown."""
        if self._node is None:
            return 0.0
        return float(self._node.GetAttribute(_DIAMETER) or 0)

    def set_brush(self, diameter: float) -> None:
        """Changes the diameter in mm."""
        if self._node is not None and diameter != self.brush_mm:
            self._node.SetAttribute(_DIAMETER, str(diameter))
            self._node.InvokeEvent(slicer.vtkMRMLSegmentEditorNode.EffectParameterModified)

    def edit(self, strokes: slicer.vtkMRMLSegmentationNode | None,
             volume: slicer.vtkMRMLScalarVolumeNode | None) -> None:
        """The strokes to draw on; others than before end the effect."""
        self.stop()
        self.widget.setSegmentationNode(strokes)
        if strokes is not None:
            self.widget.setSourceVolumeNode(volume)

    def select(self, segment_id: str) -> None:
        """The segment that the brush paints."""
        if self.widget.currentSegmentID() != segment_id:
            self.widget.setCurrentSegmentID(segment_id)

    def start(self, tool: str) -> None:
        """Activates PAINT or ERASE and stops the other editors."""
        # two editors at once would both draw with every press of the mouse
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentEditorNode"):
            if node is not self._node:
                node.SetActiveEffectName("")
                if not self.hasObserver(node, vtk.vtkCommand.ModifiedEvent, self._another_modified):
                    self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._another_modified)
        self.widget.setActiveEffectByName(tool)

    def stop(self) -> None:
        """No effect is active."""
        if self.tool:
            self.widget.setActiveEffect(None)

    def _modified(self, _caller: object, _event: object) -> None:
        self._changed()

    def _another_modified(self, node: slicer.vtkMRMLSegmentEditorNode, _event: object) -> None:
        if node.GetActiveEffectName():
            self.stop()
