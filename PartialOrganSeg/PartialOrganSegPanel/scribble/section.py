"""Section Scribble: draw strokes of organs and the background, see what is drawn, save and load them."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from PartialOrganSegLib.organs import BACKGROUND

from ..scene.organ_rows import row
from ..scene.stroke_counts import StrokeCounts, annotation_cost, count_strokes, slice_at_hand
from ..scene.stroke_labelmap import put_layer
from ..scene.strokes import stroke_segments
from ..shell import organ_table
from ..shell.section import Section, offer
from ..shell.undo import why_no_undo
from . import table as scribble_table
from .at_hand import AtHand
from .editor import ERASE, PAINT, StrokeEditor
from .exchange import StrokeExchange
from .keys import StrokeKeys
from .live_part import LivePart
from .states import mark_scribbled, next_to_draw
from .texts import cost_text, drawn_text, reasons, tips, uncounted_text
from .view import show_dimly

SETTLE_MS = 200  # after the last of a series of edits, before they are counted


class ScribbleSection(Section, VTKObservationMixin):
    """Active (tools, keys, dim prediction) while the module is open and the section is unfolded; the strokes are
    counted always. The strokes at hand are those of the panel's CT, and are made with the first stroke."""

    NAME = "Scribble"

    def setup(self) -> None:
        VTKObservationMixin.__init__(self)
        self._open = False
        self._strokes_id = ""
        self._counts = StrokeCounts()
        self._before_background = self._tool = ""
        self._slice: int | None = None
        self.at_hand = AtHand(self.panel)
        self._settle = qt.QTimer(self.widget)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.connect("timeout()", self._look)
        self.editor = StrokeEditor(slicer.qMRMLSegmentEditorWidget(self.widget), self._editor_changed)
        self._live = LivePart(self.panel, self.ui, self.at_hand, self.draw)
        self._exchange = StrokeExchange(self.panel.services.dialogs, self.at_hand, self._put, self._say,
                                        self.panel.refresh)
        self.ui.teachButton.connect("clicked()", self.panel.teach)
        scribble_table.prepare(self.ui.strokeTable)
        self.ui.strokeTable.connect("itemSelectionChanged()", self._selected)
        self.ui.scribbleCollapsible.connect("contentsCollapsed(bool)", self._folded)
        self._keys = StrokeKeys(self.widget, self.ui, {
            "paint": self._paint, "erase": self._erase, "background": self._background, "next": self._next,
            "undo": self._undo, "clear": self._clear, "load": self._load, "save": self._save, "case": self._save_case})

    # --- moments of the section

    def bound(self) -> None:
        self._unwatch()
        self.editor.bind()
        if self._open:
            self._observe_slices()
        self._say("")

    def entered(self) -> None:
        self._open = True
        self._observe_slices()
        self.refresh()

    def left(self) -> None:
        self._open = False
        self.removeObservers(self._slice_moved)
        self.refresh()

    def refresh(self) -> None:
        strokes, strokes_id = self.at_hand.strokes, ""
        if strokes is not None:
            strokes_id = strokes.GetID()
        if strokes_id != self._strokes_id:
            self._watch(strokes)
        result = self.at_hand.result
        if result is not None and mark_scribbled(result, self._counts.drawn):  # a new prediction
            self.panel.refresh()
        self._show()

    def closing(self) -> None:
        self._live.correction.stop()
        self._exchange.work.stop()
        self._unwatch()
        self.removeObservers()
        self.editor.unbind()
        show_dimly(None)

    @property
    def _active(self) -> bool:
        return self._open and not self.ui.scribbleCollapsible.collapsed

    # --- watching the strokes

    def _watch(self, strokes: slicer.vtkMRMLSegmentationNode | None) -> None:
        # organs of strokes that were deleted with their node become what they were
        deleted = bool(self._strokes_id) and slicer.mrmlScene.GetNodeByID(self._strokes_id) is None
        if deleted and self.at_hand.result is not None:
            mark_scribbled(self.at_hand.result, (), self._counts.drawn)
        self._unwatch()
        self.editor.edit(strokes, self.at_hand.volume)
        if strokes is None:
            return
        self._strokes_id = strokes.GetID()
        events = slicer.vtkSegmentation
        for event in (events.SourceRepresentationModified, events.SegmentAdded, events.SegmentRemoved,
                      events.SegmentModified, vtk.vtkCommand.ModifiedEvent):
            self.addObserver(strokes, event, self._edited)
        self._look()

    def _ensure(self) -> slicer.vtkMRMLSegmentationNode:
        """The strokes with all their segments, made and watched if there are none."""
        strokes = self.at_hand.make_strokes()
        if strokes.GetID() != self._strokes_id:
            self._watch(strokes)
        return strokes

    def _unwatch(self) -> None:
        self._settle.stop()
        self.removeObservers(self._edited)
        self._strokes_id, self._counts = "", StrokeCounts()

    def _edited(self, _caller: Any, _event: Any) -> None:
        self._settle.start()

    def _look(self, undone: bool = False) -> None:
        """Counts what is drawn, marks the organs whose first stroke was drawn or whose last one was erased, and lets
        new strokes correct. `undone`: the user has taken the last stroke back."""
        self._settle.stop()
        strokes, before = self.at_hand.strokes, self._counts.drawn
        if strokes is None or strokes.GetID() != self._strokes_id:
            return
        if strokes.GetSegmentation().GetNumberOfLayers() > 1:  # edited elsewhere so that strokes overlap
            strokes.GetSegmentation().CollapseBinaryLabelmaps(True)
        self._counts = count_strokes(strokes, self.at_hand.volume)
        if self.at_hand.result is not None:
            drawn = self._counts.drawn
            mark_scribbled(self.at_hand.result, drawn, set(before) - set(drawn))
        self._live.correction.look(undone)
        self.panel.refresh()

    def _observe_slices(self) -> None:
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            if not self.hasObserver(node, vtk.vtkCommand.ModifiedEvent, self._slice_moved):
                self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._slice_moved)

    def _slice_moved(self, _caller: Any, _event: Any) -> None:
        volume = self.at_hand.volume
        if volume is not None and volume.GetImageData() is not None and slice_at_hand(volume) != self._slice:
            self._show()

    def _editor_changed(self) -> None:
        settings = self.panel.parameters
        if settings is None:
            return
        if self.editor.tool != self._tool:  # keys of section Review depend on whether strokes are being drawn
            self._tool = self.editor.tool
            self.panel.refresh()
        if self.editor.brush_mm:
            # the wheel in a view goes beyond what the spin box has
            settings.scribble.brushMm = min(max(self.editor.brush_mm, 0.5), 50.0)
            self._show()

    def _folded(self, _folded: bool) -> None:
        if self.panel.parameters is not None:
            self._show()

    # --- what is shown

    def _show(self) -> None:
        volume, strokes, name = self.at_hand.volume, self.at_hand.strokes, self.at_hand.name
        if not self._active:
            self.editor.stop()
        self._keys.set(self._active)
        self._live.correction.check()
        self._live.show()
        dimmed = None
        if self._active and self.panel.parameters.scribble.dim:
            dimmed = self.at_hand.result
        show_dimly(dimmed)
        if strokes is not None:
            self.editor.select(stroke_segments(strokes).get(name or BACKGROUND, ""))
        self.editor.set_brush(self.panel.parameters.scribble.brushMm)
        self._slice, cost = None, None
        if volume is not None and volume.GetImageData() is not None:
            self._slice = slice_at_hand(volume)
            cost = annotation_cost(self._counts, volume, self.at_hand.result)
        lines = [self._line(organ, colour) for organ, colour in self.at_hand.colours.items()]
        organ_table.fill(self.ui.strokeTable, lines, name)
        self.ui.drawnLabel.text = " ".join(filter(None, [
            drawn_text(volume, self._counts, len(lines) - 1), uncounted_text(strokes, self.at_hand.uncounted)]))
        self.ui.costLabel.text = cost_text(cost)
        self.ui.costLabel.setVisible(cost is not None)
        self._offer_buttons(name)

    def _line(self, name: str, colour: tuple[int, int, int]) -> organ_table.OrganLine:
        slices = self._counts.of.get(name, {})
        title = name.replace("_", " ")
        if name == BACKGROUND:
            title = _("background")
        return scribble_table.stroke_line(name, title, colour, sorted(slices), self._counts.voxels(name),
                                          slices.get(self._slice, 0))

    def _offer_buttons(self, name: str) -> None:
        why = reasons(self.at_hand.volume, self.at_hand.strokes, self._counts, name, self._following(name))
        for key in ("load", "save", "case"):
            why[key] = why[key] or self._exchange.work.why_not
        why["undo"] = why["undo"] or why_no_undo(self.editor.widget)
        for key, tip in tips().items():
            offer(getattr(self.ui, f"{key}StrokesButton"), why[key], tip)
        teach = self.panel.busy
        if not self._counts.total:
            teach = teach or _("Nothing is drawn yet.")
        offer(self.ui.teachButton, teach,
              _("For all further CTs: learns from strokes and accepted organs of the CTs that are ticked below; takes "
                "minutes"))
        self.ui.paintStrokesButton.checked = self.editor.tool == PAINT
        self.ui.eraseStrokesButton.checked = self.editor.tool == ERASE
        self.ui.backgroundStrokesButton.checked = name == BACKGROUND

    def _following(self, name: str) -> str | None:
        return next_to_draw(list(self.at_hand.colours), name, self._counts.drawn, self.at_hand.result)

    def _say(self, text: str, tip: str = "") -> None:
        self.ui.strokesMessageLabel.text = text
        self.ui.strokesMessageLabel.toolTip = tip
        self.ui.strokesMessageLabel.setVisible(bool(text))

    # --- drawing

    def _selected(self) -> None:
        name = organ_table.chosen(self.ui.strokeTable)
        if name:
            self._choose(name)

    def _choose(self, name: str) -> None:
        if self.editor.tool:
            self._ensure()  # its segment may have been deleted
        self.panel.parameters.scribble.organ = name

    def _paint(self) -> None:
        self._toggle(PAINT)

    def _erase(self) -> None:
        self._toggle(ERASE)

    def _toggle(self, tool: str) -> None:
        if self.editor.tool == tool:
            self.editor.stop()
        else:
            self._start(tool)
        self.panel.refresh()

    def _start(self, tool: str) -> None:
        strokes = self._ensure()
        self.editor.select(stroke_segments(strokes)[self.at_hand.name or BACKGROUND])
        self.editor.start(tool)
        self._say("")

    def _background(self) -> None:
        name = self.at_hand.name
        if name == BACKGROUND:
            self._choose(self._before_background or next(iter(self.at_hand.colours)))
        else:
            self._before_background = name
            self._choose(BACKGROUND)
        self._start(PAINT)
        self.panel.refresh()

    def _next(self) -> None:
        name = self._following(self.at_hand.name)
        self._choose(name)
        self._jump_to_prediction(name)

    def _jump_to_prediction(self, name: str) -> None:
        """Shows where an organ was predicted; an organ without a voxel leaves the views as they are."""
        result = self.at_hand.result
        if result is None:
            return
        predicted = row(result, name)
        if predicted is None:
            return
        centre = result.GetSegmentCenterRAS(predicted.segment_id)
        if centre is not None:
            slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *centre)

    def _clear(self) -> None:
        self.editor.widget.saveStateForUndo()
        strokes = self.at_hand.strokes
        slicer.vtkSlicerSegmentationsModuleLogic.ClearSegment(strokes, stroke_segments(strokes)[self.at_hand.name])
        self._look()

    def _undo(self) -> None:
        self.editor.widget.undo()
        self._look(undone=True)

    # --- correcting and teaching

    def correct(self, organ: str) -> None:
        """Unfolds the section and lets strokes of the organ correct the CT."""
        self.ui.scribbleCollapsible.collapsed = False
        if organ in self.at_hand.colours:
            self.panel.parameters.scribble.organ = organ
        self._live.start()

    def draw(self) -> None:
        """Unfolds the section and starts the brush, with the first organ where none is selected."""
        self.ui.scribbleCollapsible.collapsed = False
        if not self.at_hand.name:
            self._choose(next(iter(self.at_hand.colours)))
        self._start(PAINT)
        self.panel.refresh()

    # --- files

    def _load(self) -> None:
        self._exchange.load()

    def _put(self, layer: slicer.vtkOrientedImageData) -> None:
        strokes = self._ensure()
        # saved before drawing, so that undo takes the loaded strokes away
        self.editor.widget.saveStateForUndo()
        put_layer(strokes, layer)
        self._settle.start()  # they are counted a moment later: in a large CT that is a step of its own

    def _save(self) -> None:
        self._exchange.save(self.at_hand.strokes, self.at_hand.volume, self.at_hand.uncounted)

    def _save_case(self) -> None:
        self._exchange.save_case(self.at_hand.strokes, self.at_hand.volume, self.at_hand.uncounted)
