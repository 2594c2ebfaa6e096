"""What every section of the panel is: a .ui file, its widgets, and a few moments at which it is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import slicer
import slicer.util

from .installer import Need
from .job import Job, Outcome, Progress
from .parameters import Parameters
from .services import Services
from .steps import Steps, Work


class SharedPanel(Protocol):
    """What a section may ask of the panel that it stands in; `panel.Panel` is the one that does it.

    `parameters` is None only before `Section.bound`. `job` is the one run of the panel, None while nothing runs;
    `missing` lists the Python packages that have to be installed before anything can.
    """

    parameters: Parameters | None
    services: Services
    job: Job | Steps | None
    missing: list[Need]

    @property
    def busy(self) -> str:
        """Why nothing else can be started now; empty when something can."""

    def resource(self, *parts: str) -> Path:
        """Path of a file in the module's Resources folder."""

    def refresh(self) -> None:
        """Lets every section bring its widgets up to date."""

    def check_packages(self) -> None:
        """Looks which Python packages are missing."""

    def models_changed(self) -> None:
        """Tells every section that a model was installed or removed."""

    def about_to_edit(self, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
        """Tells every section that voxels of a segmentation are about to be changed: a correction can be undone."""

    def record_edits(self, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
        """Lets every section note what was drawn in a segmentation a moment ago."""

    def correct_with_strokes(self, organ: str) -> None:
        """Lets the user correct an organ of the CT at hand by drawing."""

    def draw_strokes(self) -> None:
        """Lets the user draw strokes on the CT at hand, which need no segmentation."""

    def teach(self) -> None:
        """Begins to teach the model what was accepted and drawn."""

    def run(self, arguments: Sequence[str], on_progress: Callable[[Progress], None],
            on_result: Callable[[dict[str, Any]], None], on_end: Callable[[Outcome], None],
            on_warning: Callable[[str], None] = ...) -> Job:
        """Starts the library's command `arguments` as the panel's one run. Callbacks as in `Job`."""

    def run_steps(self, work: Work, on_progress: Callable[[Progress], None],
                  on_end: Callable[[Any, Outcome], None]) -> None:
        """Does `work` in this process as the panel's one run; `on_end` gets what it returned, and its outcome."""


class Section:
    """Base of the sections. `NAME` is that of the file Resources/UI/NAME.ui, whose root is a qMRMLWidget.

    `self.ui` holds the widgets by their names, `self.panel` what the sections share. A section keeps no node of its
    own: it reads them from `self.panel.parameters`, so that they come back with the scene.
    """

    NAME = ""

    def __init__(self, panel: SharedPanel) -> None:
        self.panel = panel
        self.widget = slicer.util.loadUI(str(panel.resource("UI", f"{self.NAME}.ui")))
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.setup()

    def setup(self) -> None:
        """Connects buttons; once. Parameters are not there yet."""

    def bound(self) -> None:
        """`panel.parameters` is there, new or another one: a scene was made, loaded or closed."""

    def refresh(self) -> None:
        """Something changed (parameters, nodes, a run began or ended): set texts, buttons and tooltips."""

    def models_changed(self) -> None:
        """A model was installed or removed."""

    def about_to_edit(self, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
        """Another section is about to change voxels of a segmentation: save what undo brings back."""

    def record_edits(self, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
        """Another section asks what was corrected in a segmentation: count what was drawn a moment ago."""

    def entered(self) -> None:
        """The module was opened: install keyboard shortcuts and what listens to the views."""

    def left(self) -> None:
        """Another module was opened: remove them."""

    def nodes_removed(self) -> None:
        """Nodes may have left the scene, one or a whole study."""

    def closing(self) -> None:
        """The scene, the panel or Slicer is about to close."""


def offer(button: object, reason: str, tip: str) -> None:
    """Enables a button with the tooltip `tip`, or disables it with the `reason` as tooltip; an empty reason enables."""
    button.enabled = not reason
    button.toolTip = reason or tip
