"""The course of a run: from the button to a segmentation in the scene, or to the text that says why there is none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import Code

from ..scene.hidden_result import hide_until_chosen
from ..scene.organ_versions import not_recorded
from ..scene.segment_run import SegmentRun
from ..scene.segmentation_result import ResultError, find_result
from ..scene.voxel_counts import finished, is_small
from ..shell.job import Outcome, Progress
from ..shell.model_cards import ModelCard
from ..shell.model_licence import may_use
from ..shell.parameters import EarlierResult
from ..shell.problem_text import without_hint
from ..shell.progress import ProgressStrip
from ..shell.section import SharedPanel
from ..shell.steps import counted
from .computing import chosen_organs, elsewhere, known_organs, model_text, server_arguments
from .earlier import ask_about_earlier
from .elsewhere import AtStart

FORCE = "--force"  # the command's option that helps where it refuses what is `Code.NOT_A_CT`


class Course:
    """One after the other: what becomes of an earlier segmentation, a copy of the CT, the command, its result. Of a
    small CT all but the command is done at once, of a large one in pieces.

    `models()`: the installed ones, by name.
    """

    def __init__(self, panel: SharedPanel, strip: ProgressStrip, models: Callable[[], Mapping[str, ModelCard]]) -> None:
        self._panel, self._strip, self._models = panel, strip, models
        self._run: SegmentRun | None = None  # while the command works, or its result is read
        self._preparing = False  # the earlier segmentation is looked at, or the CT is being copied for a run
        self._at_start = AtStart.of(None)

    @property
    def working(self) -> bool:
        """Whether there is something to cancel."""
        return self._preparing or self._run is not None

    def cancel(self) -> None:
        """Ends what goes on, with the scene as it was."""
        self._strip.say(_("Cancelling ..."))
        self._panel.job.cancel()

    def nodes_removed(self) -> None:
        """Nodes may have left the scene: a run without its CT is cancelled."""
        if self._run is not None and slicer.mrmlScene.GetNodeByID(self._run.volume_id) is None:
            self._panel.job.cancel(_("The CT was deleted; its run was cancelled."))

    def closing(self) -> None:
        """Drops what goes on; who calls has ended the panel's job."""
        run, self._run = self._run, None
        self._preparing = False
        if run is not None:
            run.clean_up()

    # --- before the command

    def begin(self) -> None:
        """Segments the chosen CT as the parameters say, unless the user answers a question with no."""
        settings = self._panel.parameters.segment
        if not elsewhere(settings) and not may_use(self._models()[settings.model], self._panel.services.dialogs):
            return
        volume = self._panel.parameters.inputVolume
        earlier = find_result(volume, self._panel.parameters.segmentation)
        if earlier is None or settings.earlier == EarlierResult.ADD:
            self._start(volume, None)
            return
        self._panel.record_edits(earlier)
        if is_small(volume.GetImageData()):
            self._decide(volume, earlier, finished(not_recorded(earlier)))
        else:
            self._preparing = True
            self._strip.started(_("Looking at the earlier segmentation ..."))
            work = counted(not_recorded(earlier), Progress(_("looking at the earlier segmentation"), 0, 1, None))
            self._panel.run_steps(
                work, lambda _progress: None,
                lambda organs, outcome: self._looked(volume.GetID(), earlier.GetID(), organs, outcome))

    def _looked(self, volume_id: str, earlier_id: str, organs: list[str] | None, outcome: Outcome) -> None:
        self._preparing = False
        volume, earlier = map(slicer.mrmlScene.GetNodeByID, (volume_id, earlier_id))
        if organs is None or volume is None:
            self._strip.ended(outcome, outcome.message)
        elif earlier is None:  # deleted meanwhile: nothing is left to be lost
            self._start(volume, None)
        else:
            self._strip.clear()
            self._decide(volume, earlier, organs)

    def _decide(self, volume: slicer.vtkMRMLScalarVolumeNode, earlier: slicer.vtkMRMLSegmentationNode,
                unseen: Collection[str]) -> None:
        """Starts with what the user wants of the earlier segmentation, unless the question is cancelled. `unseen`: its
        organs as in `ask_about_earlier`."""
        settings = self._panel.parameters.segment
        chosen = chosen_organs(settings, self._models())
        if ask_about_earlier(earlier, volume, chosen, unseen, settings, self._panel.services.dialogs):
            self._start(volume, earlier if settings.earlier == EarlierResult.REPLACE else None)

    def _start(self, volume: slicer.vtkMRMLScalarVolumeNode, target: slicer.vtkMRMLSegmentationNode | None) -> None:
        settings, models = self._panel.parameters.segment, self._models()
        self._at_start = AtStart.of(self._panel.parameters.segmentation)
        work = SegmentRun.prepare_steps(volume, model_text(settings), settings.device,
                                        known_organs(settings, models), chosen_organs(settings, models), target,
                                        server_arguments(settings), settings.fast)
        if not is_small(volume.GetImageData()):
            self._preparing = True
            self._strip.started(_("Copying the CT ..."))
            self._panel.run_steps(counted(work, Progress(_("copying the CT"), 0, 1, None)), lambda _progress: None,
                                  self._prepared)
            return
        try:
            run = finished(work)
        except OSError as error:
            self._strip.say(str(error))
            return
        self._launch(run)

    def _prepared(self, run: SegmentRun | None, outcome: Outcome) -> None:
        self._preparing = False
        if run is None:
            self._strip.ended(outcome, outcome.message)
        elif slicer.mrmlScene.GetNodeByID(run.volume_id) is None:
            run.clean_up()
            self._strip.ended(outcome, _("The CT was deleted; its run was cancelled."))
        else:
            self._launch(run)

    # --- the command

    def _launch(self, run: SegmentRun) -> None:
        self._run = run
        self._strip.started(_("Starting ..."))
        self._panel.run(run.arguments, self._progress, run.on_result, self._ended)

    def _progress(self, progress: Progress) -> None:
        self._strip.progress(progress)
        volume = slicer.mrmlScene.GetNodeByID(self._run.volume_id)
        # another CT may have been chosen in section Strokes or Review meanwhile
        if volume is not None and volume is not self._panel.parameters.inputVolume:
            self._strip.say(f"{volume.GetName()}: {progress.text()}")

    def _wants_force(self, run: SegmentRun, outcome: Outcome) -> bool:
        """Whether the command refused what does not look like a CT, and the user wants it segmented all the same."""
        problem = outcome.problem
        if problem is None or problem.code is not Code.NOT_A_CT or FORCE in run.arguments:
            return False
        question = run.with_ct_name(without_hint(problem))
        choices = [("force", _("Segment it all the same"))]
        return self._panel.services.dialogs.ask(_("Is this a CT?"), question, choices) == "force"

    # --- its result

    def _ended(self, outcome: Outcome) -> None:
        run, self._run = self._run, None
        if self._wants_force(run, outcome):
            run.arguments.append(FORCE)
            self._launch(run)
            return
        if outcome.state != "done":
            self._conclude(run, None, outcome, run.with_ct_name(outcome.message))
            return
        if run.is_small:
            node, text = None, ""
            try:
                node = finished(run.finish(lambda target: self._about_to_replace(run, target)))
            except ResultError as error:
                text = str(error)
            self._conclude(run, node, outcome, text)
            return
        self._run = run
        self._strip.started(_("Reading the result ..."))
        work = counted(run.finish(lambda target: self._about_to_replace(run, target)),
                       Progress(_("reading the result"), 0, 1, None))
        self._panel.run_steps(work, lambda _progress: None,
                              lambda node, steps_outcome: self._read(run, node, outcome, steps_outcome))

    def _about_to_replace(self, run: SegmentRun, target: slicer.vtkMRMLSegmentationNode) -> None:
        """Review's undo brings back what is replaced: it watches the segmentation from now on, unless the user works on
        another one."""
        if not self._stays_at(run, target):
            self._panel.parameters.segmentation = target
            self._panel.about_to_edit(target)

    def _stays_at(self, run: SegmentRun, result: slicer.vtkMRMLSegmentationNode) -> str:
        """Name of the segmentation that the user works on meanwhile, which Review does not leave; empty for none."""
        node, volume = self._panel.parameters.segmentation, slicer.mrmlScene.GetNodeByID(run.volume_id)
        if node is result or not self._at_start.works_on(node, volume):
            return ""
        return node.GetName()

    def _read(self, run: SegmentRun, node: slicer.vtkMRMLSegmentationNode | None, outcome: Outcome,
              steps_outcome: Outcome) -> None:
        self._run = None
        self._conclude(run, node, outcome, steps_outcome.message)

    def _conclude(self, run: SegmentRun, node: slicer.vtkMRMLSegmentationNode | None, outcome: Outcome,
                  text: str) -> None:
        """Shows the result, or the text that says why there is none. The scratch folder holds a copy of the CT: it
        goes, however the run ended."""
        run.clean_up()
        if node is not None:
            text, other = run.summary(outcome), self._stays_at(run, node)
            if other:
                text += "\n" + _("Section Review stays at {other}, which you work on: choose {name} there.").format(
                    other=other, name=node.GetName())
                if run.target_id != node.GetID():
                    hide_until_chosen(node)
            else:
                self._panel.parameters.segmentation = node
        self._strip.ended(outcome, text)
