"""Section Segment: choose a CT, a model and organs, run, look at the result."""

from __future__ import annotations

from collections.abc import Collection

import qt
import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import Code

from ..scene.abdomen_window import set_abdomen_window
from ..scene.hidden_result import hide_until_chosen
from ..scene.organ_versions import not_recorded
from ..scene.segment_run import SegmentRun
from ..scene.segmentation_result import ResultError, find_result, show_3d
from ..scene.shown_ct import possible_cts, shown_ct
from ..scene.voxel_counts import finished, is_small
from ..shell.chosen_model import choose_model
from ..shell.job import Outcome, Progress
from ..shell.model_cards import installed_models
from ..shell.model_licence import may_use
from ..shell.parameters import EarlierResult
from ..shell.problem_text import without_hint
from ..shell.progress import ProgressStrip
from ..shell.section import Section, offer
from ..shell.steps import counted
from .computing import Computing, elsewhere, known_organs, model_text, offered_organs, server_arguments
from .earlier import ask_about_earlier
from .elsewhere import AtStart

FORCE = "--force"  # the command's option that helps where it refuses what is `Code.NOT_A_CT`


class SegmentSection(Section):
    """The button *Segment* turns into *Cancel* while it works."""

    NAME = "Segment"

    def setup(self) -> None:
        self._run: SegmentRun | None = None
        self._preparing = False  # the CT is being copied for a run
        self._at_start = AtStart.of(None)
        self._open = False
        self._volumes: set[str] = set()  # IDs of the CTs from which one was chosen for the user, or could have been
        self._models = installed_models()
        self._listed: tuple[str, ...] = ()
        self._computing = Computing(self.panel, self.ui)
        # a moment later: who loads a CT gives it its voxels and its window after it has joined the scene
        self._window_timer = qt.QTimer(self.widget)
        self._window_timer.setSingleShot(True)
        self._window_timer.setInterval(0)
        self._window_timer.connect("timeout()", self._set_window)
        self.strip = ProgressStrip(self.ui.progressWidget, self.panel.services.dialogs)
        self.ui.segmentButton.connect("clicked()", self._segment_or_cancel)
        self.ui.drawButton.connect("clicked()", self.panel.draw_strokes)
        self.ui.show3dButton.connect("clicked(bool)", self._show_3d)
        self.ui.organList.connect("itemChanged(QListWidgetItem*)", self._organs_ticked)
        self.ui.modelBox.connect("activated(int)", self._model_chosen)

    def bound(self) -> None:
        if not self._working:  # a run outlives the import of a scene
            self.strip.clear()
        self.models_changed()

    def models_changed(self) -> None:
        self._models = installed_models()
        self.ui.modelBox.clear()
        for name in self._models:
            self.ui.modelBox.addItem(name)
        if self.panel.parameters.segment.model not in self._models and self._models:
            self.panel.parameters.segment.model = next(iter(self._models))

    def entered(self) -> None:
        self._open = True
        self._volumes = set()
        self.refresh()

    def left(self) -> None:
        self._open = False

    def refresh(self) -> None:
        self._choose_shown_ct()
        parameters = self.panel.parameters
        settings = parameters.segment
        working = self._working
        self.ui.modelBox.setCurrentText(settings.model)
        card = self._models.get(settings.model)
        self.ui.modelBox.toolTip = _("No model is installed")
        if card is not None:
            self.ui.modelBox.toolTip = f"{card.description}\n{card.licence}"
        self._list_organs()
        self.ui.organList.setVisible(settings.someOrgans)
        for name in ("inputSelector", "someOrgansBox", "organList", "earlierBox"):
            getattr(self.ui, name).enabled = not working
        self._computing.refresh(working)
        if working:
            self.ui.segmentButton.text = _("Cancel")
            offer(self.ui.segmentButton, "", _("Ends the run and leaves the scene as it was"))
        else:
            self.ui.segmentButton.text = _("Segment")
            offer(self.ui.segmentButton, self._why_not(), _("Segments the CT in the background"))
        offer(self.ui.drawButton, self._why_no_ct(),
              _("Begins to draw what the model shall learn; no segmentation is needed"))
        self._offer_3d()

    @property
    def _working(self) -> bool:
        return self._preparing or self._run is not None

    def _offer_3d(self) -> None:
        result = self.panel.parameters.segmentation
        reason, surfaces = "", False
        if result is None:
            reason = _("There is no segmentation yet.")
        else:
            # a segmentation is visible in 3D by default, which shows nothing until there are surfaces
            display = result.GetDisplayNode()
            surfaces = (display is not None and bool(display.GetVisibility3D())
                        and result.GetSegmentation().ContainsRepresentation("Closed surface"))
        offer(self.ui.show3dButton, reason, _("Shows the organs as surfaces in the 3D views"))
        self.ui.show3dButton.checked = surfaces

    def _why_not(self) -> str:
        """Why nothing can be segmented now; empty when it can."""
        parameters = self.panel.parameters
        why = self.panel.busy or self._why_no_ct()
        if why:
            return why
        if parameters.segment.model not in self._models and not elsewhere(parameters.segment):
            return _("No model is installed.")
        if parameters.segment.someOrgans and not self._chosen():
            return _("Tick at least one organ.")
        return ""

    def _why_no_ct(self) -> str:
        """Why there is no CT to work on; empty when there is one."""
        volume = self.panel.parameters.inputVolume
        if volume is None:
            return _("Choose a CT first.")
        if volume.GetImageData() is None or min(volume.GetImageData().GetDimensions()) < 2:
            return _("The chosen volume has no voxels, or only one slice.")
        return ""

    def _choose_shown_ct(self) -> None:
        """Takes the CT that the user looks at where none is chosen: when the module is opened and when a CT is loaded,
        but not against a user who chose none."""
        volumes = set(possible_cts())  # a volume joins the scene before it has voxels
        new, self._volumes = volumes - self._volumes, volumes
        parameters = self.panel.parameters
        if self._open and new and parameters.inputVolume is None:
            parameters.inputVolume = shown_ct()
        if self._open and parameters.inputVolume is not None:
            self._window_timer.start()

    def _set_window(self) -> None:
        if self.panel.parameters is not None and self.panel.parameters.inputVolume is not None:
            set_abdomen_window(self.panel.parameters.inputVolume)

    # --- organs and models

    def _list_organs(self) -> None:
        """Fills the list with the model's organs, ticked as the parameters say."""
        organs, listing = offered_organs(self.panel.parameters.segment, self._models), self.ui.organList
        # a tick set here is not the user's
        listing.blockSignals(True)
        if self._listed != tuple(organ.name for organ in organs):
            self._listed = tuple(organ.name for organ in organs)
            listing.clear()
            for organ in organs:
                item = qt.QListWidgetItem(organ.title)
                item.setData(qt.Qt.UserRole, organ.name)
                item.setData(qt.Qt.DecorationRole, qt.QColor(*organ.colour))
                listing.addItem(item)
        ticked = self.panel.parameters.segment.organs
        for index, name in enumerate(self._listed):
            listing.item(index).setCheckState(qt.Qt.Checked if name in ticked else qt.Qt.Unchecked)
        listing.blockSignals(False)

    def _organs_ticked(self, _item: qt.QListWidgetItem) -> None:
        items = [self.ui.organList.item(index) for index in range(len(self._listed))]
        self.panel.parameters.segment.organs = [item.data(qt.Qt.UserRole) for item in items
                                                if item.checkState() == qt.Qt.Checked]

    def _chosen(self) -> list[str]:
        """Names of the organs to segment; empty for all of them, or for none ticked."""
        settings = self.panel.parameters.segment
        if not settings.someOrgans:
            return []
        return [name for name in self._listed if name in settings.organs]

    def _model_chosen(self, index: int) -> None:
        choose_model(self.panel.parameters, self.ui.modelBox.itemText(index))

    # --- the run

    def _segment_or_cancel(self) -> None:
        if self._working:
            self.strip.say(_("Cancelling ..."))
            self.panel.job.cancel()
            return
        settings = self.panel.parameters.segment
        if not elsewhere(settings) and not may_use(self._models[settings.model], self.panel.services.dialogs):
            return
        volume = self.panel.parameters.inputVolume
        earlier = find_result(volume, self.panel.parameters.segmentation)
        if earlier is None or settings.earlier == EarlierResult.ADD:
            self._start(volume, None)
            return
        self.panel.record_edits(earlier)
        if is_small(volume.GetImageData()):
            self._decide(volume, earlier, finished(not_recorded(earlier)))
        else:
            self._preparing = True
            self.strip.started(_("Looking at the earlier segmentation ..."))
            work = counted(not_recorded(earlier), Progress(_("looking at the earlier segmentation"), 0, 1, None))
            self.panel.run_steps(work, lambda _progress: None,
                                 lambda organs, outcome: self._looked(volume.GetID(), earlier.GetID(), organs, outcome))

    def _looked(self, volume_id: str, earlier_id: str, organs: list[str] | None, outcome: Outcome) -> None:
        self._preparing = False
        volume, earlier = map(slicer.mrmlScene.GetNodeByID, (volume_id, earlier_id))
        if organs is None or volume is None:
            self.strip.ended(outcome, outcome.message)
        elif earlier is None:  # deleted meanwhile: nothing is left to be lost
            self._start(volume, None)
        else:
            self.strip.clear()
            self._decide(volume, earlier, organs)

    def _decide(self, volume: slicer.vtkMRMLScalarVolumeNode, earlier: slicer.vtkMRMLSegmentationNode,
                unseen: Collection[str]) -> None:
        """Starts with what the user wants of the earlier segmentation, unless the question is cancelled. `unseen`: its
        organs as in `ask_about_earlier`."""
        settings = self.panel.parameters.segment
        if ask_about_earlier(earlier, volume, self._chosen(), unseen, settings, self.panel.services.dialogs):
            self._start(volume, earlier if settings.earlier == EarlierResult.REPLACE else None)

    def _start(self, volume: slicer.vtkMRMLScalarVolumeNode, target: slicer.vtkMRMLSegmentationNode | None) -> None:
        settings = self.panel.parameters.segment
        self._at_start = AtStart.of(self.panel.parameters.segmentation)
        work = SegmentRun.prepare_steps(volume, model_text(settings), settings.device,
                                        known_organs(settings, self._models), self._chosen(), target,
                                        server_arguments(settings), settings.fast)
        if not is_small(volume.GetImageData()):
            self._preparing = True
            self.strip.started(_("Copying the CT ..."))
            self.panel.run_steps(counted(work, Progress(_("copying the CT"), 0, 1, None)), lambda _progress: None,
                                 self._prepared)
            return
        try:
            run = finished(work)
        except OSError as error:
            self.strip.say(str(error))
            return
        self._launch(run)

    def _prepared(self, run: SegmentRun | None, outcome: Outcome) -> None:
        self._preparing = False
        if run is None:
            self.strip.ended(outcome, outcome.message)
        elif slicer.mrmlScene.GetNodeByID(run.volume_id) is None:
            run.clean_up()
            self.strip.ended(outcome, _("The CT was deleted; its run was cancelled."))
        else:
            self._launch(run)

    def _launch(self, run: SegmentRun) -> None:
        self._run = run
        self.strip.started(_("Starting ..."))
        self.panel.run(run.arguments, self._progress, run.on_result, self._ended)

    def _progress(self, progress: Progress) -> None:
        self.strip.progress(progress)
        volume = slicer.mrmlScene.GetNodeByID(self._run.volume_id)
        # another CT may have been chosen in section Strokes or Review meanwhile
        if volume is not None and volume is not self.panel.parameters.inputVolume:
            self.strip.say(f"{volume.GetName()}: {progress.text()}")

    def _wants_force(self, run: SegmentRun, outcome: Outcome) -> bool:
        """Whether the command refused what does not look like a CT, and the user wants it segmented all the same."""
        problem = outcome.problem
        if problem is None or problem.code is not Code.NOT_A_CT or FORCE in run.arguments:
            return False
        question = run.with_ct_name(without_hint(problem))
        choices = [("force", _("Segment it all the same"))]
        return self.panel.services.dialogs.ask(_("Is this a CT?"), question, choices) == "force"

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
        self.strip.started(_("Reading the result ..."))
        work = counted(run.finish(lambda target: self._about_to_replace(run, target)),
                       Progress(_("reading the result"), 0, 1, None))
        self.panel.run_steps(work, lambda _progress: None,
                             lambda node, steps_outcome: self._read(run, node, outcome, steps_outcome))

    def _about_to_replace(self, run: SegmentRun, target: slicer.vtkMRMLSegmentationNode) -> None:
        """Review's undo brings back what is replaced: it watches the segmentation from now on, unless the user works on
        another one."""
        if not self._stays_at(run, target):
            self.panel.parameters.segmentation = target
            self.panel.about_to_edit(target)

    def _stays_at(self, run: SegmentRun, result: slicer.vtkMRMLSegmentationNode) -> str:
        """Name of the segmentation that the user works on meanwhile, which Review does not leave; empty for none."""
        node, volume = self.panel.parameters.segmentation, slicer.mrmlScene.GetNodeByID(run.volume_id)
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
                self.panel.parameters.segmentation = node
        self.strip.ended(outcome, text)

    def nodes_removed(self) -> None:
        if self._run is not None and slicer.mrmlScene.GetNodeByID(self._run.volume_id) is None:
            self.panel.job.cancel(_("The CT was deleted; its run was cancelled."))

    def closing(self) -> None:
        run, self._run = self._run, None
        self._preparing = False
        if run is not None:
            run.clean_up()

    def _show_3d(self, on: bool) -> None:
        before = self.strip.text.text
        self.strip.say(_("Making the surfaces ..."))
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)  # Slicer makes all surfaces in one go
        slicer.app.processEvents()
        try:
            show_3d(self.panel.parameters.segmentation, on)
            self.strip.say(before)
        except ResultError as error:
            self.strip.say(str(error))
        finally:
            slicer.app.restoreOverrideCursor()
        self.panel.refresh()
