"""Section Work list: add CTs, open one after the other, note who checked it and what is to be said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError

from ..shell import settings
from ..shell.organ_table import Cell, prepare, put
from ..shell.progress import ProgressStrip
from ..shell.section import Section, offer
from ..shell.work_list import ListedCase, WorkList, choose_list, chosen_list
from .adding import add_cases
from .open_case import OpenCase
from .ranking import Ranking, in_order
from .texts import state_text, summary, unsure_text

CASE, STATE, REVIEWER, COMMENT = range(4)
_REVIEWER = "PartialOrganSeg/Reviewer"


class WorkListSection(Section):
    """The buttons act on the selected case; the open one is bold. Leaving a case saves it, so nothing is lost."""

    NAME = "WorkList"

    def setup(self) -> None:
        self._list: WorkList = chosen_list()
        self._cases: list[ListedCase] = []
        self._unsure_first = False  # as the list was looked at last
        self._commented_on = ""  # source of the case whose comment the field shows
        self.strip = ProgressStrip(self.ui.worklistProgress, self.panel.services.dialogs)
        self._opened = OpenCase(self.panel, self.strip, lambda: self.ui.reviewerEdit.text.strip(), self._changed)
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
        return self._opened.source

    @property
    def _selected(self) -> ListedCase | None:
        row = self.ui.worklistTable.currentRow()
        if 0 <= row < len(self._cases):
            return self._cases[row]
        return None

    def _look(self) -> None:
        """Reads the list anew: another Slicer may have changed it."""
        table, current, selected = self.ui.worklistTable, self._current, self._selected
        self._cases, unreadable = [], ""
        try:
            self._cases = in_order(self._list.read(), self.panel.parameters.worklist.unsureFirst)
        except (OSError, UserError) as error:
            unreadable = str(error)
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
        self._select_again(selected)
        table.blockSignals(False)
        self.ui.worklistLabel.text = unreadable or summary(self._cases)
        self._ranking.refresh(self._cases, self._list)
        self._show_selected()

    def _select_again(self, selected: ListedCase | None) -> None:
        """The case that was selected may stand in another row now. In another order the first one is the next."""
        sources, before = [case.source for case in self._cases], self._unsure_first
        self._unsure_first = self.panel.parameters.worklist.unsureFirst
        row = 0
        if selected is not None and selected.source in sources and before == self._unsure_first:
            row = sources.index(selected.source)
        if sources:
            self.ui.worklistTable.setCurrentCell(row, CASE)

    def _selection_changed(self) -> None:
        self._show_selected()

    def _double_clicked(self, _item: qt.QTableWidgetItem) -> None:
        if self.ui.openCaseButton.enabled:
            self._open()

    def _show_selected(self) -> None:
        case = self._selected
        for name in ("commentEdit", "rejectedBox"):
            getattr(self.ui, name).enabled = case is not None
        self._show_comment(case)
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

    def _change(self, source: str, **changes: Any) -> None:
        try:
            self._list.change(source, **changes)
        except (OSError, UserError) as error:
            self.strip.say(str(error))

    def _show_comment(self, case: ListedCase | None) -> None:
        """What is being typed stays in the field while its case is selected, and goes to no other case."""
        source, comment = "", ""
        if case is not None:
            source, comment = case.source, case.comment
        if source != self._commented_on:
            self._note_comment()
            self._commented_on = source
        elif self.ui.commentEdit.modified:
            return
        if self.ui.commentEdit.text != comment:
            self.ui.commentEdit.text = comment

    def _note_comment(self) -> None:
        """Only what the user has typed: another window may have changed the comment meanwhile."""
        if self._commented_on and self.ui.commentEdit.modified:
            self.ui.commentEdit.modified = False
            self._change(self._commented_on, comment=self.ui.commentEdit.text)

    def _commented(self) -> None:
        if self.ui.commentEdit.modified:
            self._note_comment()
            self._look()

    def _reviewer_named(self, name: str) -> None:
        settings.write_setting(_REVIEWER, name.strip())

    def _rejected(self, rejected: bool) -> None:
        case = self._selected
        if case is not None:
            self._change(case.source, rejected=rejected,
                         reviewer=self.ui.reviewerEdit.text.strip() or case.reviewer)
            self._look()
            self.panel.refresh()

    # --- add and remove

    def _add(self) -> None:
        try:
            text = add_cases(self._list, self.panel.services.dialogs)
        except (OSError, UserError) as error:
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
        except (OSError, UserError) as error:
            self.strip.say(str(error))
            return
        self._opened.taken_off(case)
        self.panel.refresh()
        self._look()

    def _choose_folder(self) -> None:
        folder = self.panel.services.dialogs.choose_folder(_("Folder of the work list"))
        if folder is not None:
            self._opened.leave_list(self._list, lambda text: self._work_in(folder, text))

    def _work_in(self, folder: Path, text: str) -> None:
        choose_list(folder)
        self._list = chosen_list()
        self.strip.say(text)
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
        self._opened.go_to(self._list, case)

    def _save(self) -> None:
        self._opened.save(self._list, self.strip.say, _("Saved."))

    def _changed(self) -> None:
        """The list says something else, or another case is open, which is selected then."""
        self._look()
        sources = [listed.source for listed in self._cases]
        if self._current in sources:
            self.ui.worklistTable.setCurrentCell(sources.index(self._current), CASE)
