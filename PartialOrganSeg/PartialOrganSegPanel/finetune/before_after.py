"""The part of section Fine-tune that shows a CT as the start model and as the new one segment it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ..scene.segmentation_result import ResultError
from ..scene.voxel_counts import finished, is_small
from ..shell.job import Outcome, Progress
from ..shell.progress import ProgressStrip
from ..shell.section import SharedPanel, offer
from ..shell.steps import counted
from . import run as runs
from .comparison import Comparison
from .overlays import AFTER, BEFORE, overlays, remove_overlays, show_hidden


class BeforeAfter:
    """The button *Show before/after* turns into *Cancel* while it works. The CT is `compareVolume` of the panel."""

    def __init__(self, panel: SharedPanel, ui: Any, strip: ProgressStrip) -> None:
        self._panel, self._ui, self._strip = panel, ui, strip
        self._comparison: Comparison | None = None
        self._preparing = False  # the CT is being copied
        self._model = BEFORE  # whose run works
        self._run: Path | None = None  # folder of the latest fine-tuning run
        ui.compareButton.connect("clicked()", self._compare_or_cancel)
        ui.overlaysButton.connect("clicked()", self._remove)

    def refresh(self, run: Path | None) -> None:
        """`run`: folder of the latest run."""
        self._run = run
        working = self._working
        if working:
            self._ui.compareButton.text = _("Cancel")
            offer(self._ui.compareButton, "", _("Ends it; nothing is shown"))
        else:
            self._ui.compareButton.text = _("Show before/after")
            offer(self._ui.compareButton, self._why_not(),
                  _("Segments the CT with the start model and with the new one, and shows the organs that were learnt "
                    "as outlines: thin and white before, thick and coloured after"))
        nothing_shown = ""
        if not overlays():
            nothing_shown = _("No before and after is shown.")
        offer(self._ui.overlaysButton, nothing_shown,
              _("Removes the outlines and shows the other segmentations again"))
        self._ui.compareSelector.enabled = not working

    def closing(self) -> None:
        """The scene or the panel closes."""
        comparison, self._comparison = self._comparison, None
        self._preparing = False
        if comparison is not None:
            comparison.clean_up()

    @property
    def _working(self) -> bool:
        return self._preparing or self._comparison is not None

    def nodes_removed(self) -> None:
        """Nodes left the scene: the CT or the last overlay may be among them."""
        if self._comparison is not None and self._comparison.volume is None:
            self._panel.job.cancel(_("The CT was deleted; its run was cancelled."))
        if not overlays():
            show_hidden()

    def _why_not(self) -> str:
        """Why nothing can be compared; empty when something can."""
        volume, result = self._panel.parameters.compareVolume, runs.read_result(self._run)
        if self._panel.busy:
            return self._panel.busy
        if result is None:
            return _("There is no finished run yet.")
        if volume is None or volume.GetImageData() is None or min(volume.GetImageData().GetDimensions()) < 2:
            return _("Choose the CT to compare on.")
        return result.why_no_start()

    def _compare_or_cancel(self) -> None:
        if self._working:
            self._strip.say(_("Cancelling ..."))
            self._panel.job.cancel()
            return
        parameters, result = self._panel.parameters, runs.read_result(self._run)
        volume = parameters.compareVolume
        work = Comparison.prepare(volume, {BEFORE: result.start, AFTER: self._run / runs.MODEL},
                                  parameters.finetune.device, result.learnt)
        if not is_small(volume.GetImageData()):
            self._preparing = True
            self._strip.started(_("Copying the CT ..."))
            self._panel.run_steps(counted(work, Progress(_("copying the CT"), 0, 1, None)), lambda _progress: None,
                                  self._prepared)
            return
        try:
            self._comparison = finished(work)
        except (OSError, ResultError) as error:
            self._strip.say(str(error))
            return
        self._launch(BEFORE)

    def _prepared(self, comparison: Comparison | None, outcome: Outcome) -> None:
        self._preparing = False
        if comparison is None:
            self._strip.ended(outcome, outcome.message)
            return
        self._comparison = comparison
        self._launch(BEFORE)

    def _launch(self, model: str) -> None:
        """`model`: BEFORE or AFTER. One after the other: the panel has one run at a time."""
        self._model = model
        run = self._comparison.runs[model]
        self._strip.started(_("Starting ..."))
        self._panel.run(run.arguments, self._progress, run.on_result, self._ended)

    def _progress(self, progress: Progress) -> None:
        self._strip.progress(progress)
        titles = {BEFORE: _("start model"), AFTER: _("new model")}
        self._strip.say(f"{titles[self._model]}: {progress.text()}")

    def _ended(self, outcome: Outcome) -> None:
        # the second run follows the first; the comparison is shown when both are there
        if outcome.state == "done" and self._model == BEFORE:
            self._launch(AFTER)
            return
        comparison = self._comparison
        if outcome.state != "done":
            self._conclude(comparison.runs[self._model].with_ct_name(outcome.message), outcome)
            return
        work = comparison.show(self._panel.parameters.segmentation)
        if not comparison.runs[BEFORE].is_small:
            self._strip.started(_("Reading the results ..."))
            self._panel.run_steps(counted(work, Progress(_("reading the results"), 0, 1, None)), lambda _progress: None,
                                  lambda text, shown: self._conclude(text or shown.message, shown))
            return
        try:
            text = finished(work)
        except ResultError as error:
            text = str(error)
        self._conclude(text, outcome)

    def _conclude(self, text: str, outcome: Outcome) -> None:
        """The scratch folder holds a copy of the CT: it goes, however the runs ended."""
        comparison, self._comparison = self._comparison, None
        comparison.clean_up()
        self._strip.ended(outcome, text)

    def _remove(self) -> None:
        remove_overlays()
        self._panel.refresh()
