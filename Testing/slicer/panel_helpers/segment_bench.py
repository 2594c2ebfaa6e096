"""Section Segment with a user and a command that do what a test says."""

from .scenes import end_segment
from .section_user import SectionUser


class Bench(SectionUser):
    """A panel with a user and a command that do what the test says."""

    def __init__(self, make_panel, *answers):
        super().__init__(make_panel, "Segment", *answers)

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
