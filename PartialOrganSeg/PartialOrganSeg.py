"""The Slicer module PartialOrganSeg. A shell: what it does is in the package PartialOrganSegPanel beside it."""

import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent):  # the library is beside the module when installed, one up in the source tree
    if str(folder) not in sys.path and (folder / "PartialOrganSegLib").is_dir():
        sys.path.append(str(folder))


class PartialOrganSeg(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened. Nothing is installed or imported here beyond Slicer's own.

    In the Python console, for the panel's own logic:

        slicer.util.selectModule("PartialOrganSeg")
        panel = slicer.modules.PartialOrganSegWidget.panel
        panel.parameters.inputVolume = getNode("CT*")
        panel.section("Segment").ui.segmentButton.click()
    """

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("PartialOrganSeg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "SegmentEditor", "SubjectHierarchy", "Terminologies", "Volumes"]
        parent.contributors = ["PartialOrganSeg maintainers"]
        parent.helpText = _("Segments 16 abdominal organs on CT, and learns from what was checked, corrected or "
                            "scribbled. For research only.")
        parent.acknowledgementText = _("The methods' papers are listed in the extension's README.")
        # the terminologies module may not be loaded yet
        slicer.app.connect("startupCompleted()", _load_terminology)


def _load_terminology():
    from PartialOrganSegPanel.scene.terminology import load_terminology

    load_terminology()


class PartialOrganSegWidget(ScriptedLoadableModuleWidget):
    """Puts the sections below each other. `services` replaces process, installer and dialogs in tests."""

    def __init__(self, parent=None, services=None):
        self.services = services
        self.panel = None
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self):
        # not before the module is opened: Slicer imports this file when it starts
        from PartialOrganSegPanel.panel import SECTIONS, Panel

        ScriptedLoadableModuleWidget.setup(self)
        self.logic = PartialOrganSegLogic()
        self.panel = Panel(SECTIONS, self.logic, self.services)
        for section in self.panel.sections:
            self.layout.addWidget(section.widget)
        self.layout.addStretch(1)
        self.panel.bind()
        slicer.app.connect("aboutToQuit()", self.panel.end_run)

    def enter(self):
        """The module was opened."""
        if self.panel is not None:
            self.panel.enter()

    def exit(self):
        """Another module was opened."""
        if self.panel is not None:
            self.panel.exit()

    def cleanup(self):
        """The module is unloaded or Slicer ends."""
        if self.panel is not None:
            slicer.app.disconnect("aboutToQuit()", self.panel.end_run)
            self.panel.cleanup()


class PartialOrganSegLogic(ScriptedLoadableModuleLogic):
    """The module's parameter node; the work itself is done by the sections of PartialOrganSegPanel."""

    def getParameterNode(self):
        """The typed view of the scene's parameter node. A new one begins with the model that was chosen last."""
        from PartialOrganSegPanel.shell.chosen_model import begin_with_chosen, is_new
        from PartialOrganSegPanel.shell.parameters import Parameters

        node = super().getParameterNode()
        new = is_new(node)
        parameters = Parameters(node)
        if new:
            begin_with_chosen(parameters, node)
        return parameters


class PartialOrganSegTest(ScriptedLoadableModuleTest):
    """Self-test in Slicer: the panel can be made. All tests: Testing/run_in_slicer.py."""

    def runTest(self):
        self.setUp()
        self.test_panel()

    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_panel(self):
        widget = PartialOrganSegWidget()  # of its own: there may be no main window
        try:
            button = widget.panel.section("Segment").ui.segmentButton
            assert not button.enabled
            assert button.toolTip
        finally:
            widget.cleanup()
            widget.parent.deleteLater()
