"""The embedded model segments a phantom through the real button and a real child process."""

import numpy as np
import pytest
import slicer
from doubles import Doubles
from scenes import add_ct, label_array, phantom

ROLE = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()


def segment(panel, until, volume):
    """Presses the button, waits for the end, returns the segmentation and what the panel says."""
    section = panel.section("Segment")
    panel.parameters.inputVolume = volume
    section.ui.segmentButton.click()
    assert section.ui.segmentButton.text == "Cancel"
    until(lambda: panel.job is None, 120)
    return panel.parameters.segmentation, section.strip.text.text


@pytest.mark.timeout(300)
def test_embedded_model_through_the_button(make_panel, until):
    panel = make_panel(Doubles(real_process=True))
    volume = add_ct()
    result, said = segment(panel, until, volume)
    assert result is not None, said
    assert "organs found" in said
    assert result.GetSegmentation().GetNumberOfSegments() == 16
    assert result.GetNodeReferenceID(ROLE) == volume.GetID()
    _, labels, _ = phantom()
    liver = label_array(result, volume, "liver")
    overlap = 2 * np.count_nonzero(liver & (labels == 1)) / (np.count_nonzero(liver) + np.count_nonzero(labels == 1))
    assert overlap > 0.5
