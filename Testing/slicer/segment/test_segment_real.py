"""The embedded model segments a phantom through the real button and a real child process."""

from pathlib import Path

import numpy as np
import psutil
import pytest
import slicer
from panel_helpers.doubles import Doubles
from panel_helpers.scenes import add_ct, add_transform, label_array, rotation, upper_abdomen
from PartialOrganSegPanel.scene.organ_rows import rows

ROLE = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()


def segment(panel, until, volume):
    """Presses the button, waits for the end, returns the segmentation and the line that the panel shows."""
    section = panel.section("Segment")
    panel.parameters.inputVolume = volume
    section.ui.segmentButton.click()
    assert section.ui.segmentButton.text == "Cancel"
    until(lambda: panel.job is None, 500)
    return panel.parameters.segmentation, section.strip.text.text


@pytest.mark.timeout(600)
def test_embedded_model_through_the_button(make_panel, until):
    panel = make_panel(Doubles(real_process=True))
    hu, labels = upper_abdomen(slices=16)
    volume = add_ct(array=hu)
    result, line = segment(panel, until, volume)
    assert result is not None, line
    assert "organs found" in line
    assert result.GetSegmentation().GetNumberOfSegments() == 16
    assert result.GetNodeReferenceID(ROLE) == volume.GetID()
    liver = label_array(result, volume, "liver")
    overlap = 2 * np.count_nonzero(liver & (labels == 1)) / (np.count_nonzero(liver) + np.count_nonzero(labels == 1))
    assert overlap > 0.5


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("usual_python")
def test_cancel_of_a_real_run(make_panel, until, scene):
    panel = make_panel(Doubles(real_process=True))
    section = panel.section("Segment")
    panel.parameters.inputVolume = add_ct()
    section.ui.segmentButton.click()
    until(lambda: section.strip.bar.maximum > 0, 500)  # the first progress
    section.ui.segmentButton.click()
    until(lambda: panel.job is None, 20)
    assert section.strip.text.text == "Cancelled."
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("usual_python")
def test_killed_child(make_panel, until, scene):
    panel = make_panel(Doubles(real_process=True))
    section = panel.section("Segment")
    panel.parameters.inputVolume = add_ct()
    section.ui.segmentButton.click()
    until(lambda: panel.services.processes[0].pid, 60)
    psutil.Process(panel.services.processes[0].pid).kill()
    until(lambda: panel.job is None, 60)
    assert section.strip.text.text.startswith("The work ended unexpectedly")
    assert section.strip.log_button.visible
    assert section.ui.segmentButton.text == "Segment"
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("usual_python")
def test_scene_closed_while_the_child_works(make_panel, until, scene):
    panel = make_panel(Doubles(real_process=True))
    panel.parameters.inputVolume = add_ct()
    before = set(Path(slicer.app.temporaryPath).iterdir())
    panel.section("Segment").ui.segmentButton.click()
    assert set(Path(slicer.app.temporaryPath).iterdir()) != before
    until(lambda: panel.services.processes[0].pid, 60)
    pid = panel.services.processes[0].pid
    scene.Clear(0)
    until(lambda: not panel.services.processes[0].pid, 20)
    assert not psutil.pid_exists(pid)
    assert set(Path(slicer.app.temporaryPath).iterdir()) == before
    assert panel.job is None
    assert panel.section("Segment").ui.segmentButton.toolTip == "Choose a CT first."


@pytest.mark.timeout(600)
def test_oblique_ct_under_a_transform(make_panel, until):
    """The patient stands straight only with the transform applied: without it the liver would not be found."""
    turned = rotation(0, 0, 180) @ rotation(20, 10, 0)
    panel = make_panel(Doubles(real_process=True))
    hu, labels = upper_abdomen(slices=16)
    volume = add_ct(array=hu, axes=turned)
    volume.SetAndObserveTransformNodeID(add_transform(turned.T, (0, 0, 0)).GetID())
    panel.parameters.segment.someOrgans = True
    panel.parameters.segment.organs = ["liver", "bladder"]
    result, line = segment(panel, until, volume)
    assert "transform T applied" in line
    assert [listed.organ for listed in rows(result)] == ["liver", "bladder"]
    liver, expected = label_array(result, volume, "liver"), labels == 1
    assert 2 * np.count_nonzero(liver & expected) / (np.count_nonzero(liver) + np.count_nonzero(expected)) > 0.5
