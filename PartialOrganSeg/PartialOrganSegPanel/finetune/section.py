"""Section Fine-tune: learn from what was accepted and drawn, see whether it helped, go on with the new model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.organs import WORD16

from ..scene.overlap_text import overlap_text_of_cts
from ..scene.scene_cases import CaseList, SceneCase, include, label_space_names, measure
from ..scene.written_cts import WrittenCts
from ..shell.chosen_model import choose_model
from ..shell.job import Outcome
from ..shell.model_cards import ModelCard, installed_models
from ..shell.model_install import Installation
from ..shell.model_licence import may_use
from ..shell.parameters import Plot
from ..shell.problem_text import without_hint
from ..shell.progress import ProgressStrip
from ..shell.section import Section, offer
from . import run as runs
from .before_after import BeforeAfter
from .choices import Choices
from .deletion import Deletion
from .export import case_names, manifest_of, with_names, write_cases
from .listed_cases import change_listed, is_listed, listed_cases
from .plots import Curves, PlotView, draw
from .tables import CT, fill_cases, fill_dice, prepare_cases, prepare_dice, ticked
from .texts import expected_text, result_text, summary, why_not_start

FORCE = "--force"  # the command's option that helps where it refuses what is `Code.NOT_A_CT`


class FineTuneSection(Section):
    """The button *Start* turns into *Cancel* while it works. A run depends on no node: the CTs are copied first."""

    NAME = "FineTune"

    def setup(self) -> None:
        self._run: Path | None = None  # the folder of the run that works
        self._arguments: list[str] = []
        self._case_list, self._written = CaseList(), WrittenCts()
        self._curves, self._plots = Curves(), PlotView()
        self._cases: list[SceneCase] = []
        self._models: dict[str, ModelCard] = {}
        self._expected = ""  # what the run that works will do
        self._warned: list[str] = []  # what the run warned of
        self._lost: dict[str, dict[str, int]] = {}  # by CT, voxels of organs that overlap in the cases of the run
        self.strip = ProgressStrip(self.ui.finetuneProgress, self.panel.services.dialogs)
        self._before_after = BeforeAfter(self.panel, self.ui, self.strip)
        self._choices = Choices(self.panel, self.ui, self.strip)
        self._deletion = Deletion(self.panel, self.ui, self.strip)
        prepare_cases(self.ui.caseTable)
        prepare_dice(self.ui.diceTable)
        self.ui.caseTable.connect("itemChanged(QTableWidgetItem*)", self._ticked)
        self.ui.startModelBox.connect("activated(int)", self._model_chosen)
        self.ui.plotBox.connect("activated(int)", self._plot_chosen)
        self.ui.finetuneCollapsible.connect("contentsCollapsed(bool)", self._folded)
        for name, action in (("start", self._start_or_cancel), ("resume", self._resume), ("use", self._use)):
            getattr(self.ui, f"{name}Button").connect("clicked()", action)

    # --- moments of the section

    def bound(self) -> None:
        if self._run is not None:  # a scene was imported: its own run must not take the place of the one that works
            self.panel.parameters.finetune.run = str(self._run)
        elif self.panel.job is None:  # else a comparison or an installation goes on and is shown
            self.strip.clear()

    def refresh(self) -> None:
        if self.ui.finetuneCollapsible.collapsed:  # looking at all CTs after every change would cost for nothing
            return
        settings = self.panel.parameters.finetune
        self._cases = self._case_list.look(self.panel.parameters.segmentation)
        self._cases += listed_cases(self._cases)
        self._list_models()
        space = label_space_names(self._organs(), self._included)
        fill_cases(self.ui.caseTable, self._cases, space, fixed=self._run is not None)
        self.ui.casesLabel.text = summary(self._cases)
        self.ui.folderEdit.text = settings.run or settings.folder or str(runs.default_folder())
        self.ui.folderEdit.toolTip = self.ui.folderEdit.text
        for name in ("startModelBox", "newNameEdit", "minutesBox", "finetuneDeviceBox", "recipeEdit", "stepsBox",
                     "replayEdit", "measureBox", "keepCopiesBox"):
            getattr(self.ui, name).enabled = self._run is None
        self._show_result()
        self._offer_buttons()
        self._choices.refresh()
        self._deletion.refresh()
        self._before_after.refresh(self._latest)

    def nodes_removed(self) -> None:
        self._before_after.nodes_removed()

    def closing(self) -> None:
        self._before_after.closing()
        run, self._run = self._run, None
        if run is not None:
            runs.forget_unplanned(run)
        self._plots.hide()

    # --- what is at hand

    @property
    def _included(self) -> list[SceneCase]:
        return [case for case in self._cases if case.included]

    @property
    def _latest(self) -> Path | None:
        """Folder of the run that works, or of the latest one; None when there is none on this computer."""
        folder = self.panel.parameters.finetune.run
        # a scene may come from another computer
        if not folder or not Path(folder).is_dir():
            return None
        return Path(folder)

    def _organs(self) -> list[str]:
        """Of the start model."""
        card = self._models.get(self.panel.parameters.finetune.model)
        if card is None:
            return []
        return [organ.name for organ in card.organs]

    def _list_models(self) -> None:
        settings = self.panel.parameters.finetune
        models = installed_models()
        if list(models) != list(self._models):
            self.ui.startModelBox.clear()
            self.ui.startModelBox.addItems(list(models))
        self._models = models
        if settings.model not in models and models:
            settings.model = next(iter(models))
        self.ui.startModelBox.setCurrentText(settings.model)

    # --- what is shown

    def _show_result(self) -> None:
        result, rows, text = None, (), self._running_text()
        if self._run is None:
            result = runs.read_result(self._latest)
        if result is not None:
            rows, text = result.rows, result_text(result)
        fill_dice(self.ui.diceTable, rows)
        self.ui.diceTable.setVisible(bool(rows))
        self.ui.runLabel.text = text
        self.ui.runLabel.setVisible(bool(self.ui.runLabel.text))

    def _running_text(self) -> str:
        """What is known of the run that works. Once it has ended, the warnings are in the strip."""
        if self._run is None:
            return ""
        return "\n".join(filter(None, [self._expected, *self._warned]))

    def _offer_buttons(self) -> None:
        if self._run is not None:
            self.ui.startButton.text = _("Cancel")
            offer(self.ui.startButton, "", _("Ends the run; what it had learnt when it was saved last is kept, and "
                                             "Resume goes on from there"))
        else:
            self.ui.startButton.text = _("Start")
            reason = self.panel.busy or why_not_start(self._cases, self.panel.parameters.finetune, self._models)
            offer(self.ui.startButton, reason, _("Writes the ticked CTs with their labels into a new run folder and "
                                                 "learns from them in the background"))
        offer(self.ui.resumeButton, self._why_not_resume(), _("Goes on with the run in the run folder"))
        offer(self.ui.useButton, self._why_not_use(),
              _("Installs the new model and chooses it in section Segment, also in new scenes, and to start the next "
                "run from"))

    def _why_not_resume(self) -> str:
        if self._run is not None:
            return _("The run is going on.")
        return self.panel.busy or {
            runs.NEW: _("There is no run to resume."), runs.FINISHED: _("The run is finished."),
            runs.STARTED: ""}[runs.state(self._latest)]

    def _why_not_use(self) -> str:
        if self.panel.busy:
            return self.panel.busy
        if runs.read_result(self._latest) is None:
            return _("There is no finished run yet.")
        return ""

    # --- what the user chooses

    def _folded(self, _collapsed: bool) -> None:
        self.panel.refresh()

    def _ticked(self, item: qt.QTableWidgetItem) -> None:
        tick = ticked(item)
        if tick is None:
            return
        volume_id, column, checked = tick
        of_list, name = is_listed(volume_id), "measured"
        if column == CT:
            name = "included"
        if of_list:
            try:
                change_listed(volume_id, **{name: checked})
            except (OSError, UserError) as error:
                self.strip.say(str(error))
        elif column == CT:
            include(volume_id, checked)
        else:
            measure(volume_id, checked)
        self.panel.refresh()

    def _model_chosen(self, index: int) -> None:
        self.panel.parameters.finetune.model = self.ui.startModelBox.itemText(index)

    def _plot_chosen(self, _index: int) -> None:
        self._show_plot()

    def _show_plot(self) -> None:
        plot = self.panel.parameters.finetune.plot
        if plot == Plot.NONE:
            self._plots.hide()
        else:
            self._plots.show(plot.value)

    # --- the run

    def teach(self) -> None:
        """Unfolds the section and starts, or says why it cannot."""
        self.ui.finetuneCollapsible.collapsed = False
        self.panel.refresh()
        if self._run is None and self.ui.startButton.enabled:
            self._start_or_cancel()
        elif self._run is None:
            self.strip.say(self.ui.startButton.toolTip)

    def _start_or_cancel(self) -> None:
        if self._run is not None:
            self.strip.say(_("Cancelling ..."))
            self.panel.job.cancel()
            return
        settings = self.panel.parameters.finetune
        if not may_use(self._models[settings.model], self.panel.services.dialogs):
            return
        try:
            self._run = runs.new_run_folder(runs.folder_of_runs(settings))
        except OSError as error:
            self.strip.say(str(error))
            return
        settings.run, self._expected, self._warned, self._lost = str(self._run), "", [], {}
        self.strip.started(_("Writing the CTs ..."))
        cases = self._included
        names = [name for case, name in zip(cases, case_names(cases), strict=True) if case.measured and case.labelled]
        arguments = runs.start_arguments(settings, manifest_of(self._run), self._run, names)
        work = write_cases(cases, self._organs(), self._run, self._written, self._lost)
        self.panel.run_steps(work, self.strip.progress,
                             lambda _manifest, outcome: self._cases_written(arguments, outcome))

    def _cases_written(self, arguments: list[str], outcome: Outcome) -> None:
        if outcome.state != "done":
            self._arguments = []
            self._ended(outcome)
            return
        self._launch(self._run, arguments)

    def _resume(self) -> None:
        self._lost = {}  # said when its cases were written
        self._launch(self._latest, runs.resume_arguments(self._latest, self.panel.parameters.finetune.device))

    def _launch(self, run: Path, arguments: list[str]) -> None:
        self._run, self._arguments, self._expected = run, arguments, ""
        self._warned = [*filter(None, [overlap_text_of_cts(self._lost)])]
        for warning in runs.read_warnings(run):
            self._warning(warning)
        self._curves = Curves(runs.read_log(run))
        self._draw()
        self.strip.started(_("Starting ..."))
        self._show_plot()
        self.panel.run(arguments, self.strip.progress, self._figures, self._ended, self._warning)

    def _figures(self, event: dict[str, Any]) -> None:
        if "expected_minutes" in event:
            self._expected = expected_text(event)
            self._show_result()
        elif self._curves.add(event):
            self._draw()

    def _warning(self, message: str) -> None:
        message = with_names(message, self._run)
        if message not in self._warned:
            self._warned.append(message)
            self._show_result()

    def _draw(self) -> None:
        # the model of a run that is resumed may not be installed here; the curves need colours all the same
        card, organs = self._models.get(self.panel.parameters.finetune.model), WORD16.organs
        if card is not None:
            organs = card.organs
        draw(self._curves, {organ.name: organ.colour for organ in organs})

    def _ended(self, outcome: Outcome) -> None:
        run, self._run = self._run, None
        self.panel.parameters.finetune.run = str(run)  # whatever took its place meanwhile
        problem, message = outcome.problem, with_names(outcome.message, run)
        # refused because a file does not look like a CT: the user may know better
        if problem is not None and problem.code is Code.NOT_A_CT and FORCE not in self._arguments:
            question = with_names(without_hint(problem), run)
            choices = [("force", _("Learn from it all the same"))]
            if self.panel.services.dialogs.ask(_("Is this a CT?"), question, choices) == "force":
                self._launch(run, [*self._arguments, FORCE])
                return
        lines = [message, *self._warned]
        if outcome.state == "done":
            result = runs.read_result(run)
            # the command warns of its verdict, too, which stands above with what it was measured on
            lines = [_("Done."), *(line for line in self._warned if result is None or line != result.reason)]
        elif runs.state(run) == runs.STARTED:
            lines.append(_("Resume goes on from where it was saved last."))
        else:
            runs.forget_unplanned(run)
            self.panel.parameters.finetune.run = ""
        # the CT to compare on is best one that was not learnt from
        if outcome.state == "done" and self.panel.parameters.compareVolume is None:
            in_scene = [case for case in self._cases if not is_listed(case.volume_id)]
            candidates = [case for case in in_scene if not case.included or case.measured] or in_scene
            if candidates:
                self.panel.parameters.compareVolume = slicer.mrmlScene.GetNodeByID(candidates[0].volume_id)
        lines.append(self._deletion.after(run))
        self.strip.ended(outcome, "\n".join(filter(None, lines)))

    # --- the new model

    def _use(self) -> None:
        run = self._latest
        result = runs.read_result(run)
        if not result.better:
            question = _("The start model is the better one: {reason}. Use the new model all the same?").format(
                reason=result.reason)
            choices = [("use", _("Use the new model"))]
            if self.panel.services.dialogs.ask(_("Use this model"), question, choices) != "use":
                return
        Installation(self.panel, self.strip, self._installed).start(str(run / runs.MODEL))

    def _installed(self, name: str) -> None:
        """`name` is empty when it failed; then the strip says why."""
        settings = self.panel.parameters.finetune
        if name:
            choose_model(self.panel.parameters, name)
            settings.model = name
            if settings.name.strip() == name:  # the next model needs another one
                settings.name = ""
