"""One CT is segmented while the user works on another patient's organs: nothing is taken away under their hands."""

import pytest
import slicer
from panel_helpers.review_desk import add_box
from panel_helpers.scenes import add_ct, add_result, label_array, phantom
from panel_helpers.segment_bench import Bench
from PartialOrganSegPanel.scene import voxel_counts
from PartialOrganSegPanel.scene.organ_rows import accepted_organs
from PartialOrganSegPanel.scene.segmentation_result import find_result


class Elsewhere(Bench):
    """A CT is segmented; Review looked at the segmentation of `other` when that began."""

    def __init__(self, make_panel, *answers):
        super().__init__(make_panel, *answers)
        self.volume, self.other = add_ct("CT 1"), add_ct("CT 2", phantom(5)[0])
        self.reviewed = add_result(self.other, array=phantom(5)[1])
        self.panel.enter()
        self.panel.parameters.segmentation = self.reviewed
        self.review = self.panel.section("Review")

    def show(self, volume):
        """The slice views show a CT."""
        for colour in ("Red", "Green", "Yellow"):
            view = slicer.vtkMRMLSliceCompositeNode()
            view.SetSingletonTag(colour)
            slicer.mrmlScene.AddNode(view).SetBackgroundVolumeID(volume.GetID())

    def accept(self):
        self.review.ui.acceptButton.click()


@pytest.fixture
def elsewhere(make_panel):
    return Elsewhere(make_panel)


@pytest.mark.parametrize("small", [True, False], ids=["small CT", "large CT"])
def test_an_effect_goes_on_drawing(elsewhere, until, monkeypatch, small):
    if not small:
        monkeypatch.setattr(voxel_counts, "SMALL", 0)
    elsewhere.start(elsewhere.volume)
    until(lambda: elsewhere.services.processes, 10)
    elsewhere.review.editor.setActiveEffectByName("Paint")
    elsewhere.finish()
    until(lambda: elsewhere.panel.job is None, 10)
    assert elsewhere.review.editor.segmentationNode() is elsewhere.reviewed
    assert elsewhere.review.editor.mrmlSegmentEditorNode().GetActiveEffectName() == "Paint"
    result = find_result(elsewhere.volume)
    assert f"Review stays at CT 2 segmentation, which you work on: choose {result.GetName()} there." in elsewhere.said


def test_accepting_never_reaches_the_other_patient(elsewhere):
    elsewhere.start(elsewhere.volume)
    elsewhere.accept()
    elsewhere.finish()
    elsewhere.accept()
    assert accepted_organs(find_result(elsewhere.volume)) == []
    assert len(accepted_organs(elsewhere.reviewed)) == 2


def test_looking_at_the_other_ct_alone(elsewhere):
    elsewhere.start(elsewhere.volume)
    elsewhere.show(elsewhere.other)
    assert elsewhere.finish() is elsewhere.reviewed
    elsewhere.accept()
    result = find_result(elsewhere.volume)
    assert accepted_organs(result) == []
    # no organs of one patient over the CT of the other
    assert not result.GetDisplayNode().GetVisibility()
    elsewhere.panel.parameters.segmentation = result
    assert result.GetDisplayNode().GetVisibility()
    result.GetDisplayNode().SetVisibility(False)  # by the user
    elsewhere.panel.parameters.segmentation = elsewhere.reviewed
    elsewhere.panel.parameters.segmentation = result
    assert not result.GetDisplayNode().GetVisibility()


def test_the_ct_that_is_segmented_is_named_where_another_one_is_chosen(elsewhere):
    elsewhere.start(elsewhere.volume)
    elsewhere.process.say("progress", stage="segmenting", done=1, total=4)
    assert elsewhere.said.startswith("segmenting")
    elsewhere.panel.parameters.inputVolume = elsewhere.other  # as section Review does, to correct with strokes
    elsewhere.process.say("progress", stage="segmenting", done=2, total=4)
    assert elsewhere.said.startswith("CT 1: segmenting")


def test_another_segmentation_was_chosen_meanwhile(elsewhere):
    third = add_result(elsewhere.other, array=phantom(5)[1])
    elsewhere.start(elsewhere.volume)
    elsewhere.panel.parameters.segmentation = third
    assert elsewhere.finish() is third


def test_who_waits_sees_the_result(elsewhere):
    elsewhere.show(elsewhere.volume)
    assert elsewhere.segment(elsewhere.volume) is find_result(elsewhere.volume)
    assert "stays at" not in elsewhere.said


def test_what_is_replaced_meanwhile(make_panel):
    elsewhere = Elsewhere(make_panel, "replace")
    target = add_result(elsewhere.volume, ("liver",))
    elsewhere.start(elsewhere.volume)
    elsewhere.accept()
    moved = add_box(phantom()[1].copy())
    assert elsewhere.finish(moved) is elsewhere.reviewed
    assert (label_array(target, elsewhere.volume, "liver") == (moved == 1)).all()
    assert len(accepted_organs(elsewhere.reviewed)) == 1
