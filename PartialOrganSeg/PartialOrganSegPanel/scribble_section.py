"""Section Scribble: draw strokes of organs and the background, see what is drawn, save and load them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organs import BACKGROUND, WORD16, Organ

from . import scribble_table
from .models import installed_models
from .scribble_counts import StrokeCounts, annotation_cost, count_strokes, slice_at_hand
from .scribble_editor import ERASE, PAINT, StrokeEditor
from .scribble_files import NOT_DRAWN, draw_labelmap, read_map, save_map, scribble_labelmap, write_case
from .scribble_states import mark_scribbled, next_to_draw, result_of
from .scribble_strokes import (
    BACKGROUND_COLOUR,
    find_strokes,
    follow_transform,
    new_strokes,
    stroke_organs,
    stroke_segment,
    stroke_segments,
)
from .scribble_texts import cost_text, drawn_text, reasons
from .scribble_view import show_dimly
from .section import Section, offer
from .segment_table import row

SETTLE_MS = 200  # after the last of a series of edits, before they are counted
OTHER_COLOUR = (128, 128, 128)  # of an organ that the model does not know
PATTERNS = "*.nii.gz *.nii *.nrrd *.mha"


class ScribbleSection(Section, VTKObservationMixin):
    """Active (tools, keys, dim prediction) while the module is open and the section is unfolded; the strokes are
    counted always. The strokes at hand are those of the panel's CT, and are made with the first stroke."""

    NAME = "Scribble"

    def setup(self) -> None:
        VTKObservationMixin.__init__(self)
        self._open = False
        self._strokes_id = ""
        self._counts = StrokeCounts()
        self._before_background = ""
        self._slice: int | None = None
        self._organs_of: tuple[str, tuple[Organ, ...]] = ("", WORD16.organs)  # of the model of that name
        self._settle = qt.QTimer(self.widget)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.connect("timeout()", self._look)
        self.editor = StrokeEditor(slicer.qMRMLSegmentEditorWidget(self.widget), self._editor_changed)
        scribble_table.prepare(self.ui.strokeTable)
        self.ui.strokeTable.connect("itemSelectionChanged()", self._selected)
        self.ui.scribbleCollapsible.connect("contentsCollapsed(bool)", self._folded)
        self._shortcuts = []
        for name, key, action in (
                ("paint", "Shift+S", self._paint), ("erase", "Shift+E", self._erase),
                ("background", "Shift+B", self._background), ("next", "Shift+O", self._next),
                ("undo", "Shift+U", self._undo), ("clear", "", self._clear), ("load", "", self._load),
                ("save", "", self._save), ("case", "", self._save_case)):
            button = getattr(self.ui, f"{name}StrokesButton")
            button.connect("clicked()", action)
            if key:
                shortcut = qt.QShortcut(qt.QKeySequence(key), self.widget)
                shortcut.connect("activated()", button.click)
                shortcut.setEnabled(False)
                self._shortcuts.append(shortcut)

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
        strokes = self._strokes
        if (strokes.GetID() if strokes else "") != self._strokes_id:
            self._watch(strokes)
        self._show()

    def closing(self) -> None:
        self._unwatch()
        self.removeObservers()
        self.editor.unbind()
        show_dimly(None)

    # --- what is at hand

    @property
    def _volume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        return self.panel.parameters.inputVolume

    @property
    def _strokes(self) -> slicer.vtkMRMLSegmentationNode | None:
        return find_strokes(self._volume)

    @property
    def _result(self) -> slicer.vtkMRMLSegmentationNode | None:
        return result_of(self._volume, self.panel.parameters.segmentation)

    @property
    def _active(self) -> bool:
        return self._open and not self.ui.scribbleCollapsible.collapsed

    @property
    def _selected_name(self) -> str:
        """What is drawn, empty when nothing is chosen or the label space is another one."""
        name = self.panel.parameters.scribble.organ
        return name if name in self._colours() else ""

    def _colours(self) -> dict[str, tuple[int, int, int]]:
        """What can be drawn, in the table's order, with its colour: the strokes' label space, or the model's."""
        strokes = self._strokes
        names = stroke_organs(strokes) if strokes else tuple(organ.name for organ in self._model_organs())
        known = {organ.name: organ.colour for organ in (*WORD16.organs, *self._model_organs())}
        return {name: known.get(name, OTHER_COLOUR) for name in names} | {BACKGROUND: BACKGROUND_COLOUR}

    def _model_organs(self) -> tuple[Organ, ...]:
        model = self.panel.parameters.segment.model
        if self._organs_of[0] != model:
            card = installed_models().get(model)
            self._organs_of = model, card.organs if card else WORD16.organs
        return self._organs_of[1]

    def _ensure(self) -> slicer.vtkMRMLSegmentationNode:
        """The strokes of the CT with all their segments, made if there are none."""
        strokes = self._strokes or new_strokes(self._volume, self._model_organs())
        for name, colour in self._colours().items():
            stroke_segment(strokes, name, colour)
        if strokes.GetID() != self._strokes_id:
            self._watch(strokes)
        return strokes

    # --- watching the strokes

    def _watch(self, strokes: slicer.vtkMRMLSegmentationNode | None) -> None:
        deleted = bool(self._strokes_id) and slicer.mrmlScene.GetNodeByID(self._strokes_id) is None
        if deleted and self._result is not None:
            mark_scribbled(self._result, (), self._counts.drawn)
        self._unwatch()
        self.editor.edit(strokes, self._volume)
        if strokes is None:
            return
        self._strokes_id = strokes.GetID()
        events = slicer.vtkSegmentation
        for event in (events.SourceRepresentationModified, events.SegmentAdded, events.SegmentRemoved,
                      events.SegmentModified, vtk.vtkCommand.ModifiedEvent):
            self.addObserver(strokes, event, self._edited)
        self._look()

    def _unwatch(self) -> None:
        self._settle.stop()
        self.removeObservers(self._edited)
        self._strokes_id, self._counts = "", StrokeCounts()

    def _edited(self, _caller: Any, _event: Any) -> None:
        self._settle.start()

    def _look(self) -> None:
        """Counts what is drawn and tells the organ table."""
        self._settle.stop()
        strokes, before = self._strokes, self._counts.drawn
        if strokes is None or strokes.GetID() != self._strokes_id:
            return
        if strokes.GetSegmentation().GetNumberOfLayers() > 1:  # edited elsewhere so that strokes overlap
            strokes.GetSegmentation().CollapseBinaryLabelmaps(True)
        self._counts = count_strokes(strokes, self._volume)
        if self._result is not None:
            drawn = self._counts.drawn
            mark_scribbled(self._result, drawn, set(before) - set(drawn))
        self.panel.refresh()

    def _observe_slices(self) -> None:
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            if not self.hasObserver(node, vtk.vtkCommand.ModifiedEvent, self._slice_moved):
                self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._slice_moved)

    def _slice_moved(self, _caller: Any, _event: Any) -> None:
        if self._volume is not None and self._volume.GetImageData() and slice_at_hand(self._volume) != self._slice:
            self._show()

    def _editor_changed(self) -> None:
        settings = self.panel.parameters
        if settings is not None and self.editor.brush_mm:
            settings.scribble.brushMm = min(max(self.editor.brush_mm, 0.5), 50.0)
            self._show()

    def _folded(self, _folded: bool) -> None:
        if self.panel.parameters is not None:
            self._show()

    # --- what is shown

    def _show(self) -> None:
        volume, strokes, name = self._volume, self._strokes, self._selected_name
        readable = volume is not None and volume.GetImageData() is not None
        if not self._active:
            self.editor.stop()
        for shortcut in self._shortcuts:
            shortcut.setEnabled(self._active)
        show_dimly(self._result if self._active and self.panel.parameters.scribble.dim else None)
        if strokes is not None:
            follow_transform(strokes, volume)
            segment_id = stroke_segments(strokes).get(name, "")
            self.editor.select(segment_id)
        self.editor.set_brush(self.panel.parameters.scribble.brushMm)
        self._slice = slice_at_hand(volume) if readable else None
        scribble_table.fill(self.ui.strokeTable, [self._line(one, colour) for one, colour in self._colours().items()],
                            name)
        cost = annotation_cost(self._counts, volume, self._result) if readable else None
        self.ui.drawnLabel.text = drawn_text(self._counts, len(self._colours()) - 1)
        self.ui.costLabel.text = cost_text(cost)
        self.ui.costLabel.setVisible(cost is not None)
        self._offer_buttons(name)

    def _line(self, name: str, colour: tuple[int, int, int]) -> scribble_table.StrokeLine:
        slices = self._counts.of.get(name, {})
        title = _("background") if name == BACKGROUND else name.replace("_", " ")
        return scribble_table.StrokeLine(name, title, colour, sorted(slices), self._counts.voxels(name),
                                         slices.get(self._slice, 0))

    def _offer_buttons(self, name: str) -> None:
        why = reasons(self._volume, self._counts, name, self._following(name))
        tips = {
            "paint": _("Draws strokes of the selected organ on the slices; a later stroke wins (Shift+S)"),
            "erase": _("Erases strokes of every organ and of the background (Shift+E)"),
            "background": _("Draws strokes of what is no organ; pressed again, of the organ before (Shift+B)"),
            "next": _("Selects the next organ that has no stroke and is neither accepted nor absent, and jumps to "
                      "where it was predicted (Shift+O)"),
            "undo": _("Takes back the last stroke or other change (Shift+U)"),
            "clear": _("Removes all strokes of the selected organ"),
            "load": _("Takes strokes from a scribble label map on the voxels of the CT: organ values, 0 for "
                      "background, 255 where nothing is drawn"),
            "save": _("Saves the strokes as a label map on the voxels of the CT: organ values, 0 for background, 255 "
                      "where nothing is drawn"),
            "case": _("Saves the CT and its strokes as a scribble case with a manifest, for training"),
        }
        for key, tip in tips.items():
            offer(getattr(self.ui, f"{key}StrokesButton"), why[key], tip)
        self.ui.paintStrokesButton.checked = self.editor.tool == PAINT
        self.ui.eraseStrokesButton.checked = self.editor.tool == ERASE
        self.ui.backgroundStrokesButton.checked = name == BACKGROUND

    def _following(self, name: str) -> str | None:
        return next_to_draw(list(self._colours()), name, self._counts.drawn, self._result)

    def _say(self, text: str, tip: str = "") -> None:
        self.ui.strokesMessageLabel.text = text
        self.ui.strokesMessageLabel.toolTip = tip
        self.ui.strokesMessageLabel.setVisible(bool(text))

    # --- drawing

    def _selected(self) -> None:
        name = scribble_table.chosen(self.ui.strokeTable)
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
        self.editor.select(stroke_segments(strokes)[self._selected_name or BACKGROUND])
        self.editor.start(tool)
        self._say("")

    def _background(self) -> None:
        name = self._selected_name
        if name == BACKGROUND:
            self._choose(self._before_background or next(iter(self._colours())))
        else:
            self._before_background = name
            self._choose(BACKGROUND)
        self._start(PAINT)
        self.panel.refresh()

    def _next(self) -> None:
        name = self._following(self._selected_name)
        self._choose(name)
        result = self._result
        predicted = row(result, name) if result is not None else None
        if predicted is not None:
            centre = result.GetSegmentCenterRAS(predicted.segment_id)
            if centre is not None:
                slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *centre)

    def _clear(self) -> None:
        self.editor.widget.saveStateForUndo()
        strokes = self._strokes
        slicer.vtkSlicerSegmentationsModuleLogic.ClearSegment(strokes, stroke_segments(strokes)[self._selected_name])
        self._look()

    def _undo(self) -> None:
        self.editor.widget.undo()
        self._look()

    # --- files

    def _load(self) -> None:
        path = self.panel.services.dialogs.choose_file(_("Strokes to load"), _("Label maps") + f" ({PATTERNS})")
        if path is None:
            return
        with self._failures_said():
            labels = read_map(path, self._volume, len(self._colours()) - 1)
            merge = self._counts.total and self._ask_how()
            if merge is None:
                return
            strokes = self._ensure()
            if merge:
                labels = np.where(labels == NOT_DRAWN, scribble_labelmap(strokes, self._volume), labels)
            self.editor.widget.saveStateForUndo()
            draw_labelmap(strokes, self._volume, labels)
            self._look()
            self._say(_("{name} loaded.").format(name=path.name), str(path))

    def _ask_how(self) -> bool | None:
        """Whether loaded strokes are drawn over those that are there; None for not at all."""
        answer = self.panel.services.dialogs.ask(
            _("Load strokes"), _("There are strokes on this CT already."),
            [("replace", _("Replace them")), ("merge", _("Draw over them"))])
        return None if answer is None else answer == "merge"

    def _save(self) -> None:
        suggested = f"{self._volume.GetName()}_scribble.nii.gz"
        path = self.panel.services.dialogs.choose_file(_("Save the strokes as"), _("Label maps") + f" ({PATTERNS})",
                                                       suggested)
        if path is None:
            return
        if not path.name.endswith(tuple(PATTERNS.replace("*", "").split())):
            path = path.with_name(path.name + ".nii.gz")
        with self._failures_said():
            save_map(self._strokes, self._volume, path)
            self._say(_("Strokes written to {name}.").format(name=path.name), str(path))

    def _save_case(self) -> None:
        folder = self.panel.services.dialogs.choose_folder(_("Folder for the case"))
        if folder is None:
            return
        with self._failures_said():
            path = write_case(self._strokes, self._volume, Path(folder))
            self._say(_("CT and strokes written, with the manifest {name}.").format(name=path.name), str(path))

    @contextlib.contextmanager
    def _failures_said(self) -> Iterator[None]:
        try:
            yield
        except (OSError, UserError) as error:
            self._say(str(error))
