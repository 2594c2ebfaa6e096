"""Deletes the copies of patients' images in run folders: after a run that needs them no more, or when the user asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ..shell.progress import ProgressStrip
from ..shell.section import SharedPanel, offer
from . import run as runs
from .patient_copies import PatientCopies, copies_below, copies_in, size_text


class Deletion:
    """The tick box *Keep copies* and the button *Delete copies...* of section Fine-tune."""

    def __init__(self, panel: SharedPanel, ui: Any, strip: ProgressStrip) -> None:
        self._panel, self._ui, self._strip = panel, ui, strip
        ui.deleteCopiesButton.connect("clicked()", self._ask)

    def refresh(self) -> None:
        offer(self._ui.deleteCopiesButton, self._panel.busy,
              _("Deletes copies of CTs and labels from the runs in the run folder, after a question"))

    def after(self, run: Path) -> str:
        """Deletes the copies of a finished run unless they are to be kept; what a user should know of them."""
        copies = copies_in(run)
        if copies is None:
            return ""
        if copies.resumable or self._panel.parameters.finetune.keepCopies:
            return _("The run folder holds copies of the CTs: {size}.").format(size=size_text([copies]))
        return self._delete([copies])

    def _ask(self) -> None:
        settings = self._panel.parameters.finetune
        folder = runs.folder_of_runs(settings)
        found = copies_below(folder)
        copies = [run_copies for run_copies in found if not run_copies.in_use]
        left = ""
        if len(copies) < len(found):
            left = _("{count} runs work in another window, and keep theirs.").format(count=len(found) - len(copies))
        if not copies:
            text = _("No run in {folder} holds copies of CTs.").format(folder=folder)
            self._strip.say(left or text)
            return
        finished = [run_copies for run_copies in copies if run_copies.finished]
        question = _("{count} runs in {folder} hold copies of CTs and labels: {size}.").format(
            count=len(copies), folder=folder, size=size_text(copies))
        choices = [("all", _("Delete all, {size}").format(size=size_text(copies)))]
        if len(finished) < len(copies):
            question += " " + _("{count} of them are not finished and cannot begin or be resumed without.").format(
                count=len(copies) - len(finished))
        question = " ".join(filter(None, [question, left]))
        # a choice of its own only where it differs from "all"
        if finished and len(finished) < len(copies):
            choices.insert(0, ("finished", _("Delete those of finished runs, {size}").format(size=size_text(finished))))
        answer = self._panel.services.dialogs.ask(_("Delete copies"), question, choices)
        if answer is not None:
            self._strip.say(self._delete({"finished": finished, "all": copies}[answer]))
            self._panel.refresh()

    def _delete(self, copies: list[PatientCopies]) -> str:
        try:
            for run_copies in copies:
                run_copies.delete()
        except OSError as error:
            return _("Copies of CTs could not be deleted: {reason}").format(reason=error)
        return _("Copies of the CTs deleted: {size}.").format(size=size_text(copies))
