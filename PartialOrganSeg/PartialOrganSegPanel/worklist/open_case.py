"""The case of the work list that is open in the scene: saved before another one takes its place."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError

from ..scene.written_cts import WrittenCts
from ..shell.job import Outcome
from ..shell.progress import ProgressStrip
from ..shell.section import SharedPanel
from ..shell.work_list import ListedCase, WorkList
from .case_files import close_case, let_go, load_case, opened_ct
from .case_folder import saved_elsewhere
from .case_saving import SavedCase, save_case
from .ranking import show_unsure


class OpenCase:
    """Of one list. `reviewer()`: who decides; `changed()`: the list says something else, or another case is open."""

    def __init__(self, panel: SharedPanel, strip: ProgressStrip, reviewer: Callable[[], str],
                 changed: Callable[[], None]) -> None:
        self._panel, self._strip, self._reviewer, self._changed = panel, strip, reviewer, changed
        self._written = WrittenCts()

    @property
    def source(self) -> str:
        """Of the case that is open; empty when none is."""
        source = self._panel.parameters.worklist.source
        if opened_ct(source) is None:
            return ""
        return source

    def go_to(self, work_list: WorkList, case: ListedCase) -> None:
        """Saves the open case, if there is one, and opens another in its place."""
        if self.source:
            self.save(work_list, lambda text: self._open(work_list, case, text))
        else:
            self._open(work_list, case, self._what_was_deleted(work_list))

    def leave_list(self, work_list: WorkList, go_on: Callable[[str], None]) -> None:
        """Saves and closes the open case, if there is one; goes on only where that succeeded. Where the list cannot be
        read, its case stays in the scene, unsaved."""
        def close(text: str) -> None:
            volume = opened_ct(self.source)
            if volume is not None:
                close_case(volume)
            self._panel.parameters.worklist.source = ""
            go_on(text)

        volume = opened_ct(self.source)
        if volume is None:
            close("")
            return
        try:
            work_list.read()
        except (OSError, UserError) as error:
            self._let_go(volume)
            go_on(_("{reason} {name} was not saved; it stays in the scene.").format(
                reason=error, name=volume.GetName()))
            return
        self.save(work_list, close)

    def taken_off(self, case: ListedCase) -> None:
        """The user has taken a case off the list: its CT, if it is open, stays in the scene with all that was done."""
        if case.source == self.source:
            self._let_go(opened_ct(case.source))
            self._strip.say(_("{name} stays in the scene with what was done on it.").format(name=case.name))

    def _let_go(self, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
        let_go(volume)
        self._panel.parameters.worklist.source = ""

    # --- saving

    def save(self, work_list: WorkList, go_on: Callable[[str], None], saved_text: str = "") -> None:
        """Saves the open case in pieces; goes on, with what is to be said of it, only where that succeeded or the list
        has the case no more. `saved_text` is said before that where it was saved."""
        source, volume = self.source, opened_ct(self.source)
        try:
            case = next((listed for listed in work_list.read() if listed.source == source), None)
        except (OSError, UserError) as error:
            self._changed()
            self._strip.say(str(error))
            return
        if case is None:  # another Slicer took it off the list
            self._let_go(volume)
            go_on(_("{name} is on the list no more, so it was not saved; it stays in the scene.").format(
                name=volume.GetName()))
            return
        aside = False
        if saved_elsewhere(work_list.folder_of(case), volume):
            answer = self._keep_or_replace(case)
            if answer is None:
                return
            aside = answer == "keep"
        self._strip.started(_("Saving {name} ...").format(name=case.name))
        work = save_case(work_list, case, volume, self._panel.parameters.segmentation, self._written, aside)
        self._panel.run_steps(work, self._strip.progress,
                              lambda saved, outcome: self._saved(work_list, case, saved, outcome, go_on, saved_text))

    def _keep_or_replace(self, case: ListedCase) -> str | None:
        question = _("{name} was saved by another window since it was opened here. What is in this scene does not hold "
                     "what was done there.").format(name=case.name)
        return self._panel.services.dialogs.ask(_("Save"), question, [
            ("keep", _("Keep the other one in a folder beside it")), ("replace", _("Replace the other one"))])

    def _saved(self, work_list: WorkList, case: ListedCase, saved: SavedCase | None, outcome: Outcome,
               go_on: Callable[[str], None], saved_text: str) -> None:
        self._strip.ended(outcome, outcome.message)
        if saved is None:
            return
        facts, text = dict(saved.facts), saved.text()
        if facts.get("decided"):
            facts["reviewer"] = self._reviewer() or case.reviewer
        try:
            work_list.change(case.source, **facts)
        except (OSError, UserError) as error:  # the case's own files are saved
            text = " ".join(filter(None, [text, str(error)]))
        self._changed()
        go_on(" ".join(filter(None, [saved_text, text])))

    # --- opening

    def _what_was_deleted(self, work_list: WorkList) -> str:
        """Of the case that was open and whose CT the user has deleted in the scene."""
        source = self._panel.parameters.worklist.source
        case = next((listed for listed in work_list.cases() if listed.source == source), None)
        if case is None:
            return ""
        return _("The CT of {name} was deleted in the scene: what was done on it since it was saved last was not "
                 "saved.").format(name=case.name)

    def _open(self, work_list: WorkList, case: ListedCase, text: str) -> None:
        """Opens a case in the place of the one that was saved; `text` is said before what it says itself."""
        before = opened_ct(self.source)
        self._strip.say(_("Opening {name} ...").format(name=case.name))
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)  # Slicer reads a file in one go
        # the words are shown, but no click comes in between: what it did would be closed without being saved
        slicer.app.processEvents(qt.QEventLoop.ExcludeUserInputEvents)
        try:
            volume, node = load_case(work_list, case)
        except (OSError, UserError) as error:
            self._strip.say(" ".join(filter(None, [text, str(error)])))
            return
        finally:
            slicer.app.restoreOverrideCursor()
        parameters = self._panel.parameters
        parameters.segmentation, parameters.inputVolume = node, volume
        parameters.worklist.source = case.source
        if before is not None:
            close_case(before)
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        unsure = show_unsure(volume, case)
        if unsure:
            parameters.scribble.organ = case.worth_organ
        self._strip.say(" ".join(filter(None, [text, _("{name} is open.").format(name=case.name), unsure])))
        self._changed()
