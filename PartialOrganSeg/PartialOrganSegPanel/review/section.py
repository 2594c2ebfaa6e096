"""Section Review: go through the organs, correct them in the segment editor, accept them or mark them as absent."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..scene.ct_tag import link_to_ct, misses_its_ct
from ..scene.editor_node import editor_node
from ..scene.hidden_result import show_chosen
from ..scene.organ_rows import OrganRow, rows
from ..scene.segmentation_result import describe
from ..scene.voxel_counts import voxel_ml
from ..shell import organ_table
from ..shell.section import Section, offer
from ..shell.undo import why_no_undo
from . import table as review_table
from .export import reference_volume
from .files import ReviewFiles
from .keys import ReviewKeys, show_keyboard_map
from .logic import Review
from .looking import Looking
from .only_organ import OnlyOrgan, show_again
from .prediction import forget_predictions
from .texts import organ_text, progress_text, reasons, tips
from .working_time import WorkingTime, end_work

EDITOR_TAG = "PartialOrganSegReview"  # singleton tag of the segment editor's parameter node


class ReviewSection(Section, VTKObservationMixin):
    """Watches the panel's segmentation, also while the module is closed: edits elsewhere count as edits, but only
    time with the module open counts as time."""

    NAME = "Review"

    def setup(self) -> None:
        VTKObservationMixin.__init__(self)
        self._review: Review | None = None
        self._open = False
        self._unfolded = False  # for the first segmentation of the scene; from then on as the user wants it
        self.looking = Looking(self.widget, lambda: self._review, self._looked)
        self._time = WorkingTime(lambda: self._review)
        self._only = OnlyOrgan()
        self.editor = slicer.qMRMLSegmentEditorWidget()
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.editor.segmentationNodeSelectorVisible = False
        self.editor.sourceVolumeNodeSelectorVisible = False
        self.editor.switchToSegmentationsButtonVisible = False
        self.ui.editorLayout.addWidget(self.editor)
        self.editor.connect("currentSegmentIDChanged(QString)", self._selected_in_editor)
        self.ui.reviewCollapsible.connect("contentsCollapsed(bool)", self._folded)
        review_table.prepare(self.ui.organTable)
        self.ui.organTable.connect("itemSelectionChanged()", self._selected_in_table)
        self._keys = ReviewKeys(self.widget, self.ui, self.editor, EDITOR_TAG, {
            "acceptButton": self._accept, "absentButton": self._absent, "backButton": self._back,
            "nextButton": self._next, "undoButton": self._undo, "onlyButton": self._show_only})
        self.ui.keysButton.connect("clicked()", self._show_keys)
        self.ui.acceptAllButton.connect("clicked()", self._accept_all)
        self.ui.strokesButton.connect("clicked()", self._correct)
        self._files = ReviewFiles(self.panel, self._say)
        self.ui.tableButton.connect("clicked()", self._save_table)
        self.ui.caseButton.connect("clicked()", self._save_case)

    # --- moments of the section

    def bound(self) -> None:
        self._unwatch()
        self.editor.setMRMLSegmentEditorNode(editor_node(EDITOR_TAG))
        if self._open:
            self._time.listen()
        self._say("")

    def entered(self) -> None:
        self._open = True
        self.editor.setupViewObservations()
        self._keys.set(self._open)
        self._time.listen()
        self.looking.look()
        self._resume_clock()

    def left(self) -> None:
        self._open = False
        # an effect that stays active would draw in the views of the next module
        self.editor.setActiveEffect(None)
        self.editor.removeViewObservations()
        self._keys.set(self._open)
        self._time.stop_listening()
        if self._review is not None:
            end_work(self._review)

    def refresh(self) -> None:
        node = self.panel.parameters.segmentation
        if self._review is None or self._review.segmentation is not node or node is None:
            self._watch(node)
        elif self.editor.sourceVolumeNode() is None:  # its CT may have been loaded since
            self._give_ct(node)
        self._keys.set(self._open)
        self._show()

    def nodes_removed(self) -> None:
        forget_predictions()

    def record_edits(self, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
        if self._watches(segmentation):
            self._review.look()

    def about_to_edit(self, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
        if self._watches(segmentation):
            # what was drawn a moment ago is recorded first, so that undo does not bring back its old record
            self._review.look()
            self.editor.saveStateForUndo()

    def closing(self) -> None:
        self._files.work.stop()
        self._unfolded = False
        self._unwatch()
        self._time.stop_listening()
        self.removeObservers()

    # --- keys

    def _folded(self, _folded: bool) -> None:
        self._keys.set(self._open)

    # --- the segmentation at hand

    def _watch(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        self._unwatch()
        if node is None or not rows(node):
            return
        show_again(node)  # its scene was saved with one organ alone
        show_chosen(node)
        self._review = Review(node, self.editor.saveStateForUndo)
        events = slicer.vtkSegmentation
        self.addObserver(node, events.SourceRepresentationModified, self._drawn)
        for event in (events.SegmentAdded, events.SegmentRemoved, events.SegmentModified):
            self.addObserver(node, event, self._changed)
        if not self._unfolded:
            self._unfolded, self.ui.reviewCollapsible.collapsed = True, False
        self.editor.setSegmentationNode(node)
        self._give_ct(node)
        self._select(rows(node)[0].segment_id, jump=False)
        self.looking.look()

    def _give_ct(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """The editor's effects work on the intensities of the segmentation's own CT, of no other patient's."""
        volume = link_to_ct(node)
        if volume is None and not misses_its_ct(node):
            volume = self.panel.parameters.inputVolume
        self.editor.setSourceVolumeNode(volume)

    def _watches(self, node: slicer.vtkMRMLSegmentationNode) -> bool:
        return self._review is not None and self._review.segmentation is node

    def _unwatch(self) -> None:
        """Records the times of the segmentation at hand and lets go of it."""
        self.looking.stop()
        self._only.show_all()
        self.removeObservers(self._drawn)
        self.removeObservers(self._changed)
        review, self._review = self._review, None
        if review is None:
            return
        end_work(review)
        self.editor.setActiveEffect(None)
        self.editor.setSegmentationNode(None)

    @property
    def _current(self) -> str:
        """ID of the selected segment, empty when none of ours is."""
        if self._review is None:
            return ""
        segment_id = self.editor.currentSegmentID()
        if not segment_id or self._review.row(segment_id) is None:
            return ""
        return segment_id

    def _select(self, segment_id: str, jump: bool = True) -> None:
        self.editor.setCurrentSegmentID(segment_id)
        self._follow()
        node = self._review.segmentation
        if jump and not self._review.is_empty(segment_id):
            centre = self._review.centre_of(segment_id) or node.GetSegmentCenterRAS(segment_id)
            slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *centre)
        self._show()

    def _selected_in_table(self) -> None:
        segment_id = organ_table.chosen(self.ui.organTable)
        if segment_id and segment_id != self._current:
            self._select(segment_id)

    def _selected_in_editor(self, _segment_id: str) -> None:
        if self._review is not None:
            self._follow()
            self._show()

    def _follow(self) -> None:
        """The selection changed: so does the organ that the clock runs for, and the one that is shown alone."""
        self._resume_clock()
        if self._only.on and self._current:
            self._only.show(self._review.segmentation, self._current)

    # --- time and edits

    def _resume_clock(self) -> None:
        segment_id = ""
        if self._open:
            segment_id = self._current
        self._time.switch(segment_id)

    def _drawn(self, _caller: Any, _event: Any) -> None:
        self._time.sign()
        self.looking.soon()

    def _changed(self, _caller: Any, _event: Any) -> None:
        self.looking.soon()

    def _looked(self, changed: bool) -> None:
        if self._review is None or self._review.segmentation is None:  # what was done before has let go of it
            return
        if changed:
            self._review.write_times()
        if not self._current:
            self._resume_clock()
        self._show()

    # --- what is shown

    def _show(self) -> None:
        review, node = self._review, self.panel.parameters.segmentation
        lines, text = [], ""
        if review is not None:
            lines = [self._line(row) for row in rows(node)]
        if self._current:
            text = organ_text(review, self._current)
        organ_table.fill(self.ui.organTable, lines, self._current)
        self.ui.organTable.enabled = bool(lines)
        self.ui.organLabel.text = text
        self.ui.progressLabel.text = progress_text(node, review)
        self._offer_buttons()

    def _line(self, row: OrganRow) -> organ_table.OrganLine:
        segment, record = self._review.segment(row.segment_id), self._review.record(row.segment_id)
        ml = None
        if record is not None:
            ml = record.voxels * voxel_ml(self._review.segmentation, segment)
        return review_table.review_line(row.segment_id, segment.GetName(), segment.GetColor(), ml, row.checks,
                                        row.state, row.noted)

    def _offer_buttons(self) -> None:
        why = reasons(self._review, self._current)
        why["case"] = why["case"] or self._files.work.why_not
        why["undo"] = why["undo"] or why_no_undo(self.editor)
        for name, tip in tips().items():
            offer(getattr(self.ui, f"{name}Button"), why[name], tip)
        self.ui.onlyButton.checked = self._only.on

    def _say(self, text: str, tip: str = "") -> None:
        self.ui.messageLabel.text = text
        self.ui.messageLabel.toolTip = tip
        self.ui.messageLabel.setVisible(bool(text))

    # --- what the user does: when the edits until then are recorded, so that undo brings back what belongs together

    def _accept(self) -> None:
        segment_id = self._current
        self.looking.when_recorded(lambda: self._decide(self._review.accept, segment_id))

    def _absent(self) -> None:
        segment_id = self._current
        self.looking.when_recorded(lambda: self._decide(self._review.absent, segment_id))

    def _decide(self, decision: Callable[[str], None], segment_id: str) -> None:
        if self._review.segment(segment_id) is None:  # removed in the moment before
            return
        decision(segment_id)
        self._say("")
        following = self._review.next_to_check(self._current)
        if self.panel.parameters.review.advance and following:
            self._select(following)
        self.panel.refresh()

    def _accept_all(self) -> None:
        def accept() -> None:
            self._say(_("Organs accepted: {count}.").format(count=self._review.accept_all()))
            self.panel.refresh()

        self.looking.when_recorded(accept)

    def _correct(self) -> None:
        # strokes go to the CT of this segmentation, whichever was chosen to be segmented next
        self.panel.parameters.inputVolume = reference_volume(self._review.segmentation)
        self.panel.correct_with_strokes(self._review.row(self._current).organ)

    def _back(self) -> None:
        segment_id = self._current
        self.looking.when_recorded(lambda: self._bring_back(segment_id))

    def _bring_back(self, segment_id: str) -> Generator[None, None, None]:
        held = yield from self._review.back_to_predicted(segment_id)
        text = ""
        if held:
            text = _("Voxels that other organs have by now stayed with them: {organs}.").format(
                organs=", ".join(f"{organ} {voxels}" for organ, voxels in held.items()))
        self._say(text)
        self.panel.refresh()

    def _next(self) -> None:
        self._select(self._review.next_to_check(self._current))

    def _show_only(self) -> None:
        if self._only.on:
            self._only.show_all()
        else:
            self._only.show(self._review.segmentation, self._current)
        self._show()

    def _show_keys(self) -> None:
        show_keyboard_map(self.panel)

    def _undo(self) -> None:
        def undo() -> None:
            self.editor.undo()
            describe(self._review.segmentation)
            self._say("")
            self.panel.refresh()

        self.looking.when_recorded(undo)

    def _save_table(self) -> None:
        self._files.save_table(self._review)

    def _save_case(self) -> None:
        self._files.save_case(self._review)
