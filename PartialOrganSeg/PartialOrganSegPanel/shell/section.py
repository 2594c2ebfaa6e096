"""What every section of the panel is: a .ui file, its widgets, and a few moments at which it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import slicer
import slicer.util

if TYPE_CHECKING:
    from ..panel import Panel


class Section:
    """Base of the sections. `NAME` is that of the file Resources/UI/NAME.ui, whose root is a qMRMLWidget.

    `self.ui` holds the widgets by their names, `self.panel` what the sections share. A section keeps no node of its
    own: it reads them from `self.panel.parameters`, so that they come back with the scene.
    """

    NAME = ""

    def __init__(self, panel: Panel) -> None:
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

    def entered(self) -> None:
        """The module was opened: install keyboard shortcuts and what listens to the views."""

    def left(self) -> None:
        """Another module was opened: remove them."""

    def node_removed(self, node: slicer.vtkMRMLNode) -> None:
        """A node left the scene."""

    def closing(self) -> None:
        """The scene, the panel or Slicer is about to close."""


def offer(button: object, reason: str, tip: str) -> None:
    """Enables a button with the tooltip `tip`, or disables it with the `reason` as tooltip; an empty reason enables."""
    button.enabled = not reason
    button.toolTip = reason or tip
