"""*Find unsure cases*: which CT the model is least sure of, so that the list can begin with the one where a stroke is
worth most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError

from ..shell.job import Outcome
from ..shell.model_cards import installed_models
from ..shell.model_licence import may_use
from ..shell.progress import ProgressStrip
from ..shell.section import SharedPanel, offer
from ..shell.work_list import ListedCase, WorkList
from .rank_run import RankRun


def in_order(cases: Sequence[ListedCase], unsure_first: bool) -> list[ListedCase]:
    """The cases as the list shows them; those of which nothing is known stay behind, as they were added."""
    if not unsure_first:
        return list(cases)
    return sorted(cases, key=lambda case: (case.worth is None, -(case.worth or 0.0)))


def show_unsure(volume: slicer.vtkMRMLScalarVolumeNode, case: ListedCase) -> str:
    """Moves the slices to where the model is least sure in a CT; what to say of it, empty where nothing is known."""
    if not case.worth_organ:
        return ""
    if case.worth_z_mm is not None:
        bounds = np.zeros(6)
        volume.GetRASBounds(bounds)
        right, anterior = bounds[:4].reshape(2, 2).mean(axis=1)
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, right, anterior, case.worth_z_mm)
    return _("The model is least sure of the {organ}.").format(organ=case.worth_organ.replace("_", " "))


class Ranking:
    """The button, which turns into *Cancel* while it works; `changed` is called when the list knows more."""

    def __init__(self, panel: SharedPanel, ui: Any, strip: ProgressStrip, changed: Callable[[], None]) -> None:
        self._panel, self._ui, self._strip, self._changed = panel, ui, strip, changed
        self._run: RankRun | None = None
        self._work_list: WorkList | None = None
        self._count, self._failure = 0, ""  # CTs that the command has told of; why the list could not be written
        ui.rankButton.connect("clicked()", self._rank_or_cancel)

    def refresh(self, cases: Sequence[ListedCase], work_list: WorkList) -> None:
        """`cases`: all of the list."""
        if self._run is not None:  # its figures go to the list that it was started on
            self._ui.rankButton.text = _("Cancel")
            offer(self._ui.rankButton, "", _("Ends it; the list stays as it is"))
            return
        self._work_list = work_list
        self._ui.rankButton.text = _("Find unsure cases")
        why = self._panel.busy
        if not why and not _open_cases(cases):
            why = _("There is no case that is not done.")
        offer(self._ui.rankButton, why,
              _("Segments all cases that are not done, in the background, to find where the model is least sure: there "
                "a correction helps most. Takes some seconds a CT"))

    def closing(self) -> None:
        """The scene or the panel closes."""
        run, self._run = self._run, None
        if run is not None:
            run.clean_up()

    def _rank_or_cancel(self) -> None:
        if self._run is not None:
            self._strip.say(_("Cancelling ..."))
            self._panel.job.cancel()
            return
        settings = self._panel.parameters.segment
        card = installed_models().get(settings.model)
        if card is None:
            self._strip.say(_("No model is installed."))
            return
        if not may_use(card, self._panel.services.dialogs):
            return
        try:
            self._run = RankRun.begin(_open_cases(self._work_list.cases()))
        except OSError as error:
            self._strip.say(str(error))
            return
        self._count, self._failure = 0, ""
        self._strip.started(_("Starting ..."))
        self._panel.run_steps(self._run.prepare(settings.model, settings.device), self._strip.progress,
                              self._prepared)

    def _prepared(self, arguments: list[str] | None, outcome: Outcome) -> None:
        if arguments is None:
            self._ended(outcome)
            return
        self._strip.started(_("Looking through the cases ..."))
        self._panel.run(arguments, self._strip.progress, self._read, self._ended)

    def _read(self, event: dict[str, Any]) -> None:
        for source, unsure in self._run.read(event).items():
            try:
                self._work_list.change(source, **asdict(unsure))
            except (OSError, UserError) as error:  # said once, at the end
                self._failure = str(error)
                return
            self._count += 1

    def _ended(self, outcome: Outcome) -> None:
        run, self._run = self._run, None
        message = "\n".join(filter(None, [run.with_names(outcome.message), self._failure]))
        run.clean_up()
        text = message
        if self._count:  # of some CTs, even where others could not be read
            self._panel.parameters.worklist.unsureFirst = True
            text = _("Cases looked through: {count} of {all}. The least sure comes first.").format(
                count=self._count, all=len(run.cases))
            text = "\n".join(filter(None, [text, message]))
        self._strip.ended(outcome, text)
        self._changed()


def _open_cases(cases: Sequence[ListedCase]) -> list[ListedCase]:
    return [case for case in cases if not case.closed]
