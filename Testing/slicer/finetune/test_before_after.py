"""Section Fine-tune: a CT before and after, as outlines; what hides behind them comes back."""

import json
import shutil

import numpy as np
import pytest
import slicer
from panel_helpers.finetune_course import Course
from panel_helpers.pictures import colours, slice_picture
from panel_helpers.scenes import add_ct, add_result, decide, end_segment, phantom
from panel_helpers.start_models import write_model
from PartialOrganSegPanel.finetune.overlays import AFTER, BEFORE, overlays
from PartialOrganSegPanel.scene import segment_run, voxel_counts
from PartialOrganSegPanel.scene.organ_rows import rows, set_state
from PartialOrganSegPanel.scene.segmentation_result import find_result
from PartialOrganSegPanel.shell.model_cards import installed_models
from PIL import Image

from PartialOrganSegLib.models.folders import user_models

ORGANS = ("liver", "spleen", "left_kidney")  # of the new model
SPLEEN = 2


class Comparison:
    """A finished run and a third CT that was segmented, with its spleen accepted."""

    def __init__(self, course):
        self.course, self.panel, self.ui = course, course.panel, course.ui
        self.first_case = course.add_case("first")[1]
        course.start()
        course.finish()
        self.volume = add_ct("third")
        self.result = add_result(self.volume)
        decide(self.result, "spleen")
        self.panel.parameters.segmentation = self.result
        self.panel.parameters.compareVolume = self.volume

    def run(self):
        self.ui.compareButton.click()
        end_segment(self.course.process, np.roll(phantom()[1], 3, axis=2))
        end_segment(self.course.process, np.roll(phantom()[1], 1, axis=2), ORGANS)


@pytest.fixture
def comparison(course):
    return Comparison(course)


def shift_dice(voxels):
    """Dice of the phantom's spleen and itself, moved along a row."""
    spleen = phantom()[1] == SPLEEN
    return (spleen & np.roll(spleen, voxels, axis=2)).sum() / spleen.sum()


def visible(segmentation):
    return bool(segmentation.GetDisplayNode().GetVisibility())


def test_the_command_runs_with_both_models(comparison):
    comparison.ui.compareButton.click()
    assert comparison.ui.compareButton.text == "Cancel"
    first = comparison.course.process
    assert first.arguments[first.arguments.index("--model") + 1] == str(installed_models()["embedded"].folder)
    first.say("progress", stage="windows", done=1, total=4, eta_s=3)
    assert comparison.course.said == "start model: windows: 1 of 4, 3 s left"
    end_segment(first)
    second = comparison.course.process
    assert second is not first
    assert second.arguments[second.arguments.index("--model") + 1] == str(comparison.course.run / "model")
    assert second.arguments[1] == first.arguments[1]
    assert not overlays()
    second.say("progress", stage="windows", done=1, total=4, eta_s=3)
    assert comparison.course.said == "new model: windows: 1 of 4, 3 s left"


def test_outlines_of_the_organs_that_were_learnt(comparison):
    comparison.run()
    shown = overlays()
    assert set(shown) == {BEFORE, AFTER}
    for moment, node in shown.items():
        display = node.GetDisplayNode()
        assert not display.GetVisibility2DFill()
        assert display.GetVisibility2DOutline()
        assert [organ for organ in node.GetSegmentation().GetSegmentIDs() if display.GetSegmentVisibility(organ)] == [
            "spleen"]
        assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is comparison.volume
        assert moment in node.GetName()
    thickness = {moment: node.GetDisplayNode().GetSliceIntersectionThickness() for moment, node in shown.items()}
    assert thickness[BEFORE] < thickness[AFTER]
    assert tuple(shown[BEFORE].GetDisplayNode().GetSegmentColor("spleen")) == (1, 1, 1)
    assert not visible(comparison.result)
    assert not visible(comparison.first_case)
    for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        assert node.GetBackgroundVolumeID() == comparison.volume.GetID()


def test_figures_are_those_of_the_two_results(comparison):
    comparison.run()
    ml = np.count_nonzero(phantom()[1] == SPLEEN) / 8
    assert comparison.course.said.splitlines()[1] == (
        f"spleen: {ml:.1f} ml, then {ml:.1f} ml; Dice with the accepted one {shift_dice(3):.3f}, "
        f"then {shift_dice(1):.3f}")
    set_state(comparison.result, "spleen", "predicted")
    comparison.run()
    assert comparison.course.said.endswith(f"; Dice of the two {shift_dice(2):.3f}")


def test_accepted_organs_count_though_the_ct_was_segmented_again(comparison):
    comparison.panel.parameters.segmentation = add_result(comparison.volume)
    comparison.run()
    assert f"Dice with the accepted one {shift_dice(3):.3f}" in comparison.course.said


def test_an_organ_that_the_start_model_lacks(comparison):
    comparison.ui.compareButton.click()
    end_segment(comparison.course.process, organs=("liver",))
    end_segment(comparison.course.process, organs=ORGANS)
    assert "spleen: unknown to it, then" in comparison.course.said


def test_outlines_are_no_results(comparison):
    comparison.run()
    assert not any(rows(node) for node in overlays().values())
    assert find_result(comparison.volume) is comparison.result
    assert comparison.panel.parameters.segmentation is comparison.result


def test_a_second_time_replaces_and_remove_brings_back(comparison):
    comparison.run()
    first = {node.GetID() for node in overlays().values()}
    comparison.run()
    assert not first & {node.GetID() for node in overlays().values()}
    assert not visible(comparison.result)
    comparison.ui.overlaysButton.click()
    assert not overlays()
    assert visible(comparison.result)
    assert visible(comparison.first_case)
    assert not comparison.ui.overlaysButton.enabled


def test_deleting_the_outlines_brings_back(comparison, scene):
    comparison.run()
    for node in overlays().values():
        scene.RemoveNode(node)
    assert visible(comparison.result)


def test_they_come_back_with_the_scene(comparison, scene, tmp_path):
    comparison.run()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert not comparison.ui.overlaysButton.enabled
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert set(overlays()) == {BEFORE, AFTER}
    comparison.ui.overlaysButton.click()
    assert visible(comparison.panel.parameters.segmentation)


def test_a_large_ct_is_compared_in_pieces(comparison, monkeypatch, until):
    """What is shown and said in the end is the same as of a small one."""
    comparison.run()
    small = comparison.course.said
    comparison.ui.overlaysButton.click()
    monkeypatch.setattr(voxel_counts, "SMALL", 0)
    monkeypatch.setattr(segment_run, "SMALL", 0)
    processes = comparison.course.services.processes
    count = len(processes)
    comparison.ui.compareButton.click()
    assert len(processes) == count  # the CT is being copied
    comparison.ui.compareButton.click()
    assert comparison.course.said == "Cancelled."
    comparison.ui.compareButton.click()
    until(lambda: len(processes) > count, 20)
    end_segment(comparison.course.process, np.roll(phantom()[1], 3, axis=2))
    end_segment(comparison.course.process, np.roll(phantom()[1], 1, axis=2), ORGANS)
    assert overlays() == {}  # the results are being read
    until(lambda: comparison.panel.job is None, 20)
    assert set(overlays()) == {BEFORE, AFTER}
    assert comparison.course.said == small


@pytest.mark.parametrize("run", [1, 2])
def test_cancel_shows_nothing(comparison, run):
    comparison.ui.compareButton.click()
    if run == 2:
        end_segment(comparison.course.process)
    process = comparison.course.process
    comparison.ui.compareButton.click()
    assert process.cancelled
    process.end(130)
    assert comparison.course.said == "Cancelled."
    assert not overlays()
    assert visible(comparison.result)
    assert comparison.ui.compareButton.text == "Show before/after"


def test_failure_names_the_ct(comparison):
    comparison.ui.compareButton.click()
    process = comparison.course.process
    process.say("error", message=f"{process.arguments[1]}: out of memory")
    process.end(1)
    assert comparison.course.said == "third: out of memory"
    assert comparison.ui.compareButton.enabled


def test_deleting_the_ct_cancels(comparison, scene):
    comparison.ui.compareButton.click()
    process = comparison.course.process
    scene.RemoveNode(comparison.volume)
    assert process.cancelled
    process.end(130)
    assert "deleted" in comparison.course.said


def test_scene_closed_meanwhile(comparison, scene):
    comparison.ui.compareButton.click()
    process = comparison.course.process
    scene.Clear(0)
    assert process.killed
    process.end(9, crashed=True)
    assert not overlays()
    assert comparison.ui.compareButton.text == "Show before/after"


def test_why_nothing_can_be_compared(comparison, tmp_path):
    comparison.panel.parameters.compareVolume = None
    assert comparison.ui.compareButton.toolTip == "Choose the CT to compare on."
    comparison.panel.parameters.compareVolume = comparison.volume
    assert comparison.ui.compareButton.enabled
    result = comparison.course.run / "result.json"
    result.write_text(json.dumps(json.loads(result.read_text("utf-8")) | {"start": str(tmp_path / "gone")}), "utf-8")
    comparison.panel.refresh()
    assert "no longer there" in comparison.ui.compareButton.toolTip


def test_a_start_model_that_was_replaced_is_not_compared_with(make_panel, licences_known, tmp_path):
    """Else, once the new model took its place, a model would be compared with itself."""
    start = write_model(user_models() / "mine", "mine")
    course = Course(make_panel, tmp_path / "runs", "accept")
    course.settings.model = "mine"
    comparison = Comparison(course)
    assert comparison.ui.compareButton.enabled
    shutil.rmtree(start)
    shutil.copytree(course.run / "model", start)
    course.panel.refresh()
    assert not comparison.ui.compareButton.enabled
    assert "replaced" in comparison.ui.compareButton.toolTip


def test_a_damaged_model_is_told(comparison):
    model = comparison.course.run / "model"
    (model / "configs" / "metadata.json").write_text("{}")
    comparison.ui.compareButton.click()
    assert comparison.course.said == f"{model}: the model cannot be read."
    assert len(comparison.course.services.processes) == 1
    assert comparison.ui.compareButton.text == "Show before/after"


def test_a_left_out_ct_is_proposed(course):
    course.add_case("first")
    third = add_ct("third")
    course.start()
    course.finish()
    assert course.panel.parameters.compareVolume is third


def test_picture_of_the_outlines(comparison, folder):
    comparison.volume.GetDisplayNode().SetAutoWindowLevel(False)
    comparison.volume.GetDisplayNode().SetWindowLevel(400, 40)
    comparison.run()
    slice_picture(comparison.volume, folder / "outlines.png", "Axial", overlays()[AFTER].GetSegmentCenterRAS("spleen"))
    assert colours(folder / "outlines.png") > 50
    pixels = np.asarray(Image.open(folder / "outlines.png").convert("RGB")).astype(int)
    purple = np.array(overlays()[AFTER].GetSegmentation().GetSegment("spleen").GetColor()) * 255
    coloured = np.ptp(pixels, axis=2) > 40
    assert np.abs(pixels[coloured] - purple).max() < 60  # no fill, no other organ
    assert coloured.sum() < 0.02 * coloured.size
