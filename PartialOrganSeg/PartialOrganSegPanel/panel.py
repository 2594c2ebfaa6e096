"""The panel: its sections, and what they share: parameters, services, the one run at a time, the scene's changes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from .export.section import ExportSection
from .finetune.section import FineTuneSection
from .models.section import ModelsSection
from .review.section import ReviewSection
from .scribble.section import ScribbleSection
from .segment.section import SegmentSection
from .shell.installer import Need
from .shell.job import Job, Outcome, Progress
from .shell.parameters import Parameters
from .shell.section import Section
from .shell.services import Services
from .shell.setup_section import SetupSection
from .shell.steps import Steps, Work
from .worklist.section import WorkListSection

# In the order of the work. A new section is one line here.
SECTIONS: tuple[type[Section], ...] = (SetupSection, WorkListSection, SegmentSection, ReviewSection, ScribbleSection,
                                       ExportSection, FineTuneSection, ModelsSection)
SHOWN_NOWHERE = ("vtkMRMLTableNode", "vtkMRMLPlotSeriesNode", "vtkMRMLPlotChartNode")  # curves come by the dozen
# Views of parameters that are no longer used. Python may collect one while the node calls it, and takes Slicer along.
_former_parameters: list[Parameters] = []
RESOURCES = Path(__file__).resolve().parent.parent / "Resources"


class Panel(VTKObservationMixin):
    """Makes the sections, in their order, and calls them; see `section.Section` for the moments.

    `bind` starts it, once the sections' widgets are laid out: a widget without a parent would be shown as a window.
    """

    def __init__(self, sections: Sequence[type[Section]], logic: Any, services: Services | None = None) -> None:
        VTKObservationMixin.__init__(self)
        self.logic = logic
        self.services = services or Services()
        self.parameters: Parameters | None = None
        self.job: Job | Steps | None = None
        self._gui_tags: list[Any] = []
        self._refreshing = self._stale = self._closing = self._held = self._loading = False
        self.missing: list[Need] = []
        self.check_packages()
        self.sections = [section(self) for section in sections]
        scene = slicer.mrmlScene
        self.addObserver(scene, slicer.vtkMRMLScene.StartCloseEvent, self._scene_closing)
        self.addObserver(scene, slicer.vtkMRMLScene.EndCloseEvent, self._scene_changed)
        self.addObserver(scene, slicer.vtkMRMLScene.StartImportEvent, self._scene_loading)
        self.addObserver(scene, slicer.vtkMRMLScene.EndImportEvent, self._scene_changed)
        self.addObserver(scene, slicer.vtkMRMLScene.EndBatchProcessEvent, self._batch_ended)
        self.addObserver(scene, slicer.vtkMRMLScene.NodeAddedEvent, self._node_added)
        self.addObserver(scene, slicer.vtkMRMLScene.NodeRemovedEvent, self._node_removed)

    def resource(self, *parts: str) -> Path:
        """Path of a file in the module's Resources folder."""
        return RESOURCES.joinpath(*parts)

    def section(self, name: str) -> Section:
        """The section called `name`. Raises KeyError when there is none."""
        return {section.NAME: section for section in self.sections}[name]

    # --- parameters

    def bind(self) -> None:
        """Takes the scene's parameter node and connects every widget that names a parameter."""
        self._unbind()
        self.parameters = self.logic.getParameterNode()
        for number, section in enumerate(self.sections):
            tag = self.parameters.connectGui(section.ui)
            # some Slicers count the tags from 0 and do not return them; without one an old scene's view of the
            # parameters stays connected with the widgets, and writes into the next scene
            self._gui_tags.append(number if tag is None else tag)
        self.addObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._parameters_changed)
        for section in self.sections:
            section.bound()
        self.refresh()

    def _unbind(self) -> None:
        if self.parameters is not None:
            for tag in self._gui_tags:
                self.parameters.disconnectGui(tag)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._parameters_changed)
            _former_parameters.append(self.parameters)
        self.parameters, self._gui_tags = None, []

    def refresh(self) -> None:
        """Lets every section bring its widgets up to date."""
        # a refresh from within a refresh is done by the loop of the outer one, not by recursion
        self._stale = True
        if self.parameters is None or self._refreshing or self._closing or self._held or self._loading:
            return
        self._refreshing = True
        try:
            while self._stale:  # a section's refresh may change what an earlier one shows
                self._stale = False
                for section in self.sections:
                    section.refresh()
        finally:
            self._refreshing = False

    def enter(self) -> None:
        """The module was opened: keys and views are the sections' until `exit`."""
        self.refresh()
        for section in self.sections:
            section.entered()

    def exit(self) -> None:
        """Another module was opened."""
        for section in self.sections:
            section.left()

    def check_packages(self) -> None:
        """Looks which Python packages are missing; at the start and after an installation."""
        self.missing = self.services.installer.missing()

    def models_changed(self) -> None:
        """Tells every section that a model was installed or removed."""
        for section in self.sections:
            section.models_changed()

    def about_to_edit(self, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
        """Tells every section that voxels of a segmentation are about to be changed."""
        for section in self.sections:
            section.about_to_edit(segmentation)

    def record_edits(self, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
        """Lets every section note what was drawn in a segmentation a moment ago."""
        for section in self.sections:
            section.record_edits(segmentation)

    def correct_with_strokes(self, organ: str) -> None:
        """Lets the user correct an organ of the CT at hand by drawing."""
        with self._one_refresh():
            self._strokes.correct(organ)

    def draw_strokes(self) -> None:
        """Lets the user draw strokes on the CT at hand, which need no segmentation."""
        with self._one_refresh():
            self._strokes.draw()

    @contextlib.contextmanager
    def _one_refresh(self) -> Iterator[None]:
        """Changes many parameters and brings the sections up to date once, at the end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            self.refresh()

    @property
    def _strokes(self) -> ScribbleSection:
        section = self.section(ScribbleSection.NAME)
        assert isinstance(section, ScribbleSection)
        return section

    def teach(self) -> None:
        """Begins to teach the model what was accepted and drawn."""
        section = self.section(FineTuneSection.NAME)
        assert isinstance(section, FineTuneSection)
        section.teach()

    # --- the one run

    @property
    def busy(self) -> str:
        """Why nothing else can be started now; empty when something can."""
        if self.job is not None:
            return _("Another run is going on: wait for it or cancel it.")
        if self.missing:
            return _("Python packages are missing: install them above.")
        return ""

    def run(self, arguments: Sequence[str], on_progress: Callable[[Progress], None],
            on_result: Callable[[dict[str, Any]], None], on_end: Callable[[Outcome], None],
            on_warning: Callable[[str], None] = lambda message: None) -> Job:
        """Starts the library's command `arguments` as the panel's one run. Callbacks as in `Job`."""
        def end(outcome: Outcome) -> None:
            # free before the section hears of the end: it may start the next run at once
            self.job = None
            on_end(outcome)
            self.refresh()

        self.job = Job(self.services.new_process(), on_progress, on_result, end, on_warning)
        self.job.start(arguments)
        self.refresh()
        return self.job

    def end_run(self) -> None:
        """Kills what runs, without an outcome."""
        if self.job is not None:
            self.job.kill()
            self.job = None
        # a section that lets go of its tools must not make another one take up its work again
        self._closing = True
        try:
            for section in self.sections:
                section.closing()
        finally:
            self._closing = False

    def run_steps(self, work: Work, on_progress: Callable[[Progress], None],
                  on_end: Callable[[Any, Outcome], None]) -> None:
        """Does `work` in this process as the panel's one run; `on_end` gets what it returned, and its outcome."""
        def end(outcome: Outcome) -> None:
            self.job = None
            on_end(steps.value, outcome)
            self.refresh()

        self.job = steps = Steps(work, on_progress, end)
        steps.start()
        self.refresh()

    # --- the scene

    def _scene_closing(self, _caller: Any, _event: Any) -> None:
        self.end_run()
        self._unbind()

    def _scene_loading(self, _caller: Any, _event: Any) -> None:
        # Slicer reads the parameters before the nodes that they name: until the end they seem to name none, and a
        # section that chose a CT then would replace the one that was saved
        self._loading = True

    def _scene_changed(self, _caller: Any, _event: Any) -> None:
        self._loading = False
        self.bind()

    def _batch_ended(self, _caller: Any, _event: Any) -> None:
        # of a scene that is loaded or closed, or of another module's: its nodes came and went without a refresh each,
        # as those of a study that is deleted in the module Data
        if not slicer.mrmlScene.IsBatchProcessing():
            self._nodes_removed()
            self.refresh()

    def _nodes_removed(self) -> None:
        if self.parameters is not None and not self._loading:
            for section in self.sections:
                section.nodes_removed()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_added(self, _caller: Any, _event: Any, node: Any) -> None:
        # while a scene is loaded or closed nodes come and go by the hundred: its end refreshes once
        if not slicer.mrmlScene.IsBatchProcessing() and not any(map(node.IsA, SHOWN_NOWHERE)):
            self.refresh()

    def _node_removed(self, _caller: Any, _event: Any) -> None:
        if self.parameters is None or self._loading or slicer.mrmlScene.IsBatchProcessing():
            return
        self._nodes_removed()
        self.refresh()

    def _parameters_changed(self, _caller: Any, _event: Any) -> None:
        self.refresh()

    def cleanup(self) -> None:
        """The panel or Slicer ends: so does the child process, and nothing listens any more."""
        self.end_run()
        self._unbind()
        self.removeObservers()
