"""Section Segment: which CT is chosen for the user, and the window that it is shown in."""

import numpy as np
import slicer
import slicer.util
from panel_helpers.scenes import add_ct, phantom


def show(volume):
    """In all slice views, as loading does."""
    for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        node.SetBackgroundVolumeID(volume.GetID() if volume else None)


def test_the_ct_in_the_views_is_chosen_when_the_module_is_opened(bench):
    add_ct("one")
    two = add_ct("two")
    assert bench.panel.parameters.inputVolume is None
    bench.panel.enter()
    assert bench.panel.parameters.inputVolume is None  # none is shown, so it could be either
    bench.panel.exit()
    show(two)
    bench.panel.enter()
    assert bench.panel.parameters.inputVolume is two


def test_a_ct_that_is_loaded_is_chosen_but_not_against_the_user(bench):
    show(None)
    bench.panel.enter()
    slicer.util.addVolumeFromArray(phantom()[1], nodeClassName="vtkMRMLLabelMapVolumeNode", name="labels")
    assert bench.panel.parameters.inputVolume is None
    volume = add_ct()
    bench.panel.refresh()
    assert bench.panel.parameters.inputVolume is volume
    bench.panel.parameters.inputVolume = None
    bench.panel.refresh()
    assert bench.panel.parameters.inputVolume is None


def test_a_ct_is_shown_in_the_window_of_abdominal_organs_unless_one_was_chosen(bench, until):
    bench.panel.enter()
    bench.panel.parameters.inputVolume = volume = add_ct()
    display = volume.GetDisplayNode()
    until(lambda: (display.GetWindow(), display.GetLevel()) == (400, 40), 5)
    display.SetWindowLevel(1500, -500)
    bench.panel.refresh()
    slicer.app.processEvents()
    assert display.GetWindow() == 1500
    second = add_ct("lungs")
    second.GetDisplayNode().SetAutoWindowLevel(False)
    second.GetDisplayNode().SetWindowLevel(1400, -600)
    bench.panel.parameters.inputVolume = second
    until(lambda: second.GetAttribute("PartialOrganSeg.Window"), 5)
    assert second.GetDisplayNode().GetWindow() == 1400


def test_what_has_no_air_is_no_ct_and_keeps_its_window(bench, until):
    bench.panel.enter()
    bench.panel.parameters.inputVolume = volume = add_ct("MR", np.full((20, 20, 20), 300, np.int16))
    until(lambda: volume.GetAttribute("PartialOrganSeg.Window"), 5)
    assert volume.GetDisplayNode().GetAutoWindowLevel()
