"""Section Work list: add CTs, open one after the other, note who checked it and what is to be said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError

from ..scene.written_cts import WrittenCts
from ..shell import settings
from ..shell.job import Outcome
from ..shell.organ_table import Cell, prepare, put
from ..shell.progress import ProgressStrip
from ..shell.section import Section, offer
from ..shell.work_list import ListedCase, WorkList, choose_list, chosen_list
from .adding import add_cases
from .case_files import close_case, open_case, opened_ct, save_case
from .ranking import Ranking, in_order, show_unsure
from .texts import state_text, summary, unsure_text

CASE, STATE, REVIEWER, COMMENT = range(4)
_REVIEWER = "PartialOrganSeg/Reviewer"


class WorkListSection(Section):
    """The buttons act on the selected case; the open one is bold. Leaving a case saves it, so nothing is lost."""

    NAME = "WorkList"

    def setup(self) -> None:
        self._list: WorkList = chosen_list()
        self._cases: list[ListedCase] = []
        self._written = WrittenCts()
        self.strip = ProgressStrip(self.ui.worklistProgress, self.panel.services.dialogs)
        self._ranking = Ranking(self.panel, self.ui, self.strip, self._look)
        prepare(self.ui.worklistTable, [_("Case"), _("State"), _("Reviewer"), _("Comment")], stretched=(CASE, COMMENT))
        self.ui.worklistTable.connect("itemSelectionChanged()", self._selection_changed)
        self.ui.worklistTable.connect("itemDoubleClicked(QTableWidgetItem*)", self._double_clicked)
        for name, action in (("addCases", self._add), ("openCase", self._open), ("previousCase", self._previous),
                             ("nextCase", self._next), ("saveWork", self._save), ("removeCase", self._remove),
                             ("listFolder", self._choose_folder)):
            getattr(self.ui, f"{name}Button").connect("clicked()", action)
        self.ui.commentEdit.connect("editingFinished()", self._commented)
        self.ui.reviewerEdit.connect("textChanged(QString)", self._reviewer_named)
        self.ui.rejectedBox.connect("clicked(bool)", self._rejected)

    # --- moments

    def bound(self) -> None:
        if self.panel.job is None:
            self.strip.clear()
        self._list = chosen_list()
        self.ui.reviewerEdit.text = settings.read_setting(_REVIEWER) or ""

    def entered(self) -> None:
        self._look()

    def refresh(self) -> None:
        if self.ui.worklistCollapsible.collapsed and self._cases:
            return
        self._look()

    def closing(self) -> None:
        self._ranking.closing()

    # --- the list

    @property
    def _current(self) -> str:
        """Source of the case that is open; empty when none is."""
        source = self.panel.parameters.worklist.source
        if opened_ct(source) is None:
            return ""
        return source

    @property
    def _selected(self) -> ListedCase | None:
        row = self.ui.worklistTable.currentRow()
        if 0 <= row < len(self._cases):
            return self._cases[row]
        return None

    def _look(self) -> None:
        """Reads the list anew: another Slicer may have changed it."""
        self._cases = in_order(self._list.cases(), self.panel.parameters.worklist.unsureFirst)
        table, current = self.ui.worklistTable, self._current
        # a change of the rows is not the user's
        table.blockSignals(True)
        table.setRowCount(len(self._cases))
        for row, case in enumerate(self._cases):
            font = qt.QFont()
            font.setBold(case.source == current)
            cells = {CASE: Cell(case.name, case.source), REVIEWER: Cell(case.reviewer, case.reviewer),
                     STATE: Cell(state_text(case), unsure_text(case) or state_text(case)),
                     COMMENT: Cell(case.comment, case.comment)}
            for column, cell in cells.items():
                put(table, row, column, cell).setFont(font)
        if table.currentRow() < 0 and self._cases:
            table.setCurrentCell(0, CASE)
        table.blockSignals(False)
        self.ui.worklistLabel.text = summary(self._cases)
        self._ranking.refresh(self._cases, self._list)
        self._show_selected()

    def _selection_changed(self) -> None:
        self._show_selected()

    def _double_clicked(self, _item: qt.QTableWidgetItem) -> None:
        if self.ui.openCaseButton.enabled:
            self._open()

    def _show_selected(self) -> None:
        case = self._selected
        for name in ("commentEdit", "rejectedBox"):
            getattr(self.ui, name).enabled = case is not None
        if case is not None and not self.ui.commentEdit.hasFocus():
            self.ui.commentEdit.text = case.comment
        self.ui.rejectedBox.checked = case is not None and case.rejected
        busy, none = self.panel.busy, ""
        if case is None:
            none = _("Select a case first.")
        is_open = ""
        if case is not None and case.source == self._current:
            is_open = _("The case is open.")
        not_open = ""
        if not self._current:
            not_open = _("No case is open.")
        offer(self.ui.addCasesButton, "", _("Adds CTs from a folder, from files or from Slicer's DICOM database"))
        offer(self.ui.openCaseButton, busy or none or is_open, _("Saves the open case and opens the selected one"))
        offer(self.ui.previousCaseButton, busy or self._why_no_other(-1),
              _("Saves the open case and opens the one before it that is not done"))
        offer(self.ui.nextCaseButton, busy or self._why_no_other(1),
              _("Saves the open case and opens the next one that is not done"))
        offer(self.ui.saveWorkButton, busy or not_open, _("Saves what was done on the open case"))
        offer(self.ui.removeCaseButton, busy or none,
              _("Takes the case off the list, after a question; the CT's own file stays"))
        offer(self.ui.listFolderButton, busy, _("Chooses where the list and what is saved of its cases lie"))

    def _why_no_other(self, direction: int) -> str:
        if self._other(direction) is None:
            return _("There is no other case that is not done.")
        return ""

    def _other(self, direction: int) -> ListedCase | None:
        """The next case in a direction, in a circle, that is neither done nor rejected."""
        sources = [case.source for case in self._cases]
        at = self.ui.worklistTable.currentRow()
        if self._current in sources:
            at = sources.index(self._current)
        elif direction > 0:
            at -= 1  # none is open yet: the selected one is the next
        for distance in range(1, len(self._cases) + 1):
            case = self._cases[(at + direction * distance) % len(self._cases)]
            if not case.closed and case.source != self._current:
                return case
        return None

    # --- what the user notes

    def _change(self, case: ListedCase, **changes: Any) -> None:
        try:
            self._list.change(case.source, **changes)
        except OSError as error:
            self.strip.say(str(error))
        self._look()

    def _commented(self) -> None:
        case = self._selected
        if case is not None and self.ui.commentEdit.text != case.comment:
            self._change(case, comment=self.ui.commentEdit.text)

    def _reviewer_named(self, name: str) -> None:
        settings.write_setting(_REVIEWER, name.strip())

    def _rejected(self, rejected: bool) -> None:
        case = self._selected
        if case is not None:
            self._change(case, rejected=rejected, reviewer=self.ui.reviewerEdit.text.strip() or case.reviewer)
            self.panel.refresh()

    # --- add and remove

    def _add(self) -> None:
        try:
            text = add_cases(self._list, self.panel.services.dialogs)
        except OSError as error:
            text = str(error)
        if text is not None:
            self.strip.say(text)
            self._look()

    def _remove(self) -> None:
        case = self._selected
        question = _("Take {name} off the list? What was saved of it, with a copy of the CT where organs were accepted "
                     "or strokes drawn, is deleted; the CT's own file stays.").format(name=case.name)
        if self.panel.services.dialogs.ask(_("Remove"), question, [("remove", _("Remove"))]) != "remove":
            return
        try:
            self._list.remove(case.source)
        except OSError as error:
            self.strip.say(str(error))
        self.panel.refresh()
        self._look()

    def _choose_folder(self) -> None:
        folder = self.panel.services.dialogs.choose_folder(_("Folder of the work list"))
        if folder is not None:
            choose_list(Path(folder))
            self._list = chosen_list()
            self.panel.refresh()
            self._look()

    # --- open and save

    def _open(self) -> None:
        self._go_to(self._selected)

    def _previous(self) -> None:
        self._go_to(self._other(-1))

    def _next(self) -> None:
        self._go_to(self._other(1))

    def _go_to(self, case: ListedCase) -> None:
        if self._current:
            self._save_then(lambda: self._open_case(case, close=True))
        else:
            self._open_case(case, close=False)

    def _save(self) -> None:
        self._save_then(lambda: self.strip.say(_("Saved.")))

    def _save_then(self, go_on: Callable[[], None]) -> None:
        """Saves the open case in pieces; goes on only where that succeeded."""
        source = self._current
        case = next((listed for listed in self._list.cases() if listed.source == source), None)
        if case is None:  # another Slicer took it off the list
            go_on()
            return
        self.strip.started(_("Saving {name} ...").format(name=case.name))
        work = save_case(self._list, case, opened_ct(source), self.panel.parameters.segmentation, self._written)
        self.panel.run_steps(work, self.strip.progress, lambda facts, outcome: self._saved(case, facts, outcome, go_on))

    def _saved(self, case: ListedCase, facts: dict[str, Any] | None, outcome: Outcome,
               go_on: Callable[[], None]) -> None:
        self.strip.ended(outcome, outcome.message)
        if facts is None:
            return
        if facts["decided"]:
            facts["reviewer"] = self.ui.reviewerEdit.text.strip() or case.reviewer
        self._change(case, **facts)
        go_on()

    def _open_case(self, case: ListedCase, close: bool) -> None:
        before = None
        if close:
            before = opened_ct(self._current)
        self.strip.say(_("Opening {name} ...").format(name=case.name))
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)  # Slicer reads a file in one go
        slicer.app.processEvents()
        try:
            volume, node = open_case(self._list, case)
        except (OSError, UserError) as error:
            self.strip.say(str(error))
            return
        finally:
            slicer.app.restoreOverrideCursor()
        parameters = self.panel.parameters
        parameters.segmentation, parameters.inputVolume = node, volume
        parameters.worklist.source = case.source
        if before is not None:
            close_case(before)
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        text = show_unsure(volume, case)
        if text:
            parameters.scribble.organ = case.worth_organ
        self.strip.say(" ".join(filter(None, [_("{name} is open.").format(name=case.name), text])))
        self._look()
        self.ui.worklistTable.setCurrentCell([listed.source for listed in self._cases].index(case.source), CASE)
