"""Section Segment with a user and a command that do what a test says."""


from doubles import Doubles
from scenes import end_segment


class Bench:
    """A panel with a user and a command that do what the test says."""

    def __init__(self, make_panel, *answers):
        self.services = Doubles(*answers)
        self.panel = make_panel(self.services)
        self.section = self.panel.section("Segment")
        self.ui = self.section.ui

    @property
    def process(self):
        return self.services.processes[-1]

    @property
    def said(self):
        return self.section.strip.text.text

    def option(self, name):
        arguments = self.process.arguments
        return arguments[arguments.index(name) + 1]

    def start(self, volume):
        self.panel.parameters.inputVolume = volume
        self.ui.segmentButton.click()

    def finish(self, array=None, organs=None):
        """The command ends well with the labels `array` for `organs` (default: all)."""
        end_segment(self.process, array, organs)
        return self.panel.parameters.segmentation

    def segment(self, volume, **results):
        self.start(volume)
        return self.finish(**results)


def content(scene):
    """Every node's ID and name, but for the parameter node."""
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return {(node.GetID(), node.GetName()) for node in nodes if not node.IsA("vtkMRMLScriptedModuleNode")}
