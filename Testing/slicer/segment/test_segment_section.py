"""Section Segment: what the buttons offer, what a run asks of the command, and what goes wrong."""

from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
import slicer.util
from panel_helpers.doubles import Doubles, FakeInstaller
from panel_helpers.scenes import add_ct, label_array, phantom
from panel_helpers.segment_bench import Bench, content
from PartialOrganSegPanel.scene import segment_run, voxel_counts
from PartialOrganSegPanel.scene.organ_rows import rows
from PartialOrganSegPanel.shell.parameters import EarlierResult

from PartialOrganSegLib.errors import Code, Problem
from PartialOrganSegLib.organs import WORD16

# --- buttons

def test_buttons_tell_why_they_are_disabled(bench):
    ui, parameters = bench.ui, bench.panel.parameters
    assert not ui.segmentButton.enabled
    assert "Choose a CT" in ui.segmentButton.toolTip
    assert not ui.show3dButton.enabled
    assert "no segmentation" in ui.show3dButton.toolTip
    parameters.inputVolume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    assert "no voxels" in ui.segmentButton.toolTip
    parameters.inputVolume = add_ct()
    assert ui.segmentButton.enabled
    assert "background" in ui.segmentButton.toolTip
    ui.someOrgansBox.click()
    assert not ui.segmentButton.enabled
    assert "Tick" in ui.segmentButton.toolTip
    ui.organList.item(2).setCheckState(qt.Qt.Checked)
    assert ui.segmentButton.enabled
    assert parameters.segment.organs == ["left_kidney"]


def test_another_run_disables_the_button(make_panel):
    bench = Bench(make_panel)
    bench.panel.parameters.inputVolume = add_ct()
    bench.panel.run(["train"], print, print, print)
    assert not bench.ui.segmentButton.enabled
    assert "Another run" in bench.ui.segmentButton.toolTip
    bench.process.end(0)
    assert bench.ui.segmentButton.enabled


def test_inputs_are_fixed_during_a_run(bench):
    bench.start(add_ct())
    assert bench.ui.segmentButton.text == "Cancel"
    assert not bench.ui.inputSelector.enabled
    bench.process.end(1)
    assert bench.ui.segmentButton.text == "Segment"
    assert bench.ui.inputSelector.enabled


def test_no_model_is_told(make_panel, monkeypatch):
    monkeypatch.setattr("PartialOrganSegPanel.segment.section.installed_models", dict)
    panel = make_panel(Doubles(installer=FakeInstaller()))
    panel.parameters.inputVolume = add_ct()
    assert "No model" in panel.section("Segment").ui.segmentButton.toolTip


# --- a run

def test_command_gets_the_settings(bench):
    bench.panel.parameters.segment.device = "cpu"
    bench.panel.parameters.segment.someOrgans = True
    bench.panel.parameters.segment.organs = ["spleen", "liver"]
    bench.start(add_ct())
    assert bench.process.arguments[0] == "segment"
    assert Path(bench.process.arguments[1]).is_file()
    assert (bench.option("--device"), bench.option("--model")) == ("cpu", "embedded")
    assert bench.option("--organs") == "liver,spleen"
    assert bench.process.arguments[-1] == "--json-events"
    assert "--fast" not in bench.process.arguments


def test_fast_is_passed_on(bench):
    bench.ui.fastBox.click()
    bench.start(add_ct())
    assert "--fast" in bench.process.arguments


def test_progress_shows_stage_and_time_left(bench):
    bench.start(add_ct())
    bench.process.say("progress", stage="windows", done=3, total=27, eta_s=75.2)
    assert bench.said == "windows: 3 of 27, 1 min 15 s left"
    assert bench.section.strip.bar.value == round(1000 * 3 / 27)


def test_scratch_files_are_removed(bench):
    before = set(Path(slicer.app.temporaryPath).iterdir())
    bench.start(add_ct())
    folder = Path(bench.process.arguments[1]).parent
    assert set(Path(slicer.app.temporaryPath).iterdir()) - before == {folder}
    bench.finish()
    assert set(Path(slicer.app.temporaryPath).iterdir()) == before


def test_warnings_name_the_ct_and_not_the_scratch_file(bench):
    bench.start(add_ct("Patient 1"))
    bench.process.warn(Problem(Code.COARSE_VOXELS, bench.process.arguments[1], found="voxels are too coarse"))
    bench.finish()
    assert "Patient 1: voxels are too coarse" in bench.said


# --- what goes wrong

def test_cancel_leaves_the_scene_as_it_was(bench, scene):
    volume = add_ct()
    bench.panel.parameters.inputVolume = volume
    before = content(scene)
    bench.start(volume)
    bench.ui.segmentButton.click()
    assert bench.process.cancelled
    bench.process.end(130)
    assert content(scene) == before
    assert bench.said == "Cancelled."
    assert not bench.section.strip.log_button.visible


def test_failure_tells_the_reason_and_shows_the_log(bench, scene):
    volume = add_ct("Patient 1")
    before = content(scene)
    bench.start(volume)
    bench.process.on_log("some library's chatter")
    bench.process.fail(Problem(Code.WRONG_FORMAT, bench.process.arguments[1], "a CT in HU", "8-bit grey values"))
    bench.process.end(1)
    assert bench.said == "Patient 1: expected a CT in HU, found 8-bit grey values"
    assert content(scene) == before
    bench.section.strip.log_button.click()
    assert "chatter" in bench.services.dialogs.logs[0]


def test_killed_child_is_told_with_its_last_line(bench, scene):
    volume = add_ct()
    before = content(scene)
    bench.start(volume)
    bench.process.on_log("RuntimeError: out of memory")
    bench.process.end(9, crashed=True)
    assert bench.said == "The work ended unexpectedly: RuntimeError: out of memory"
    assert bench.section.strip.log_button.visible
    assert content(scene) == before


def test_closing_the_scene_ends_the_run(bench, scene):
    bench.start(add_ct())
    process, folder = bench.process, Path(bench.process.arguments[1]).parent
    scene.Clear(0)
    assert process.killed
    assert not folder.exists()
    process.end(9, crashed=True)  # the process's own end arrives later
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert bench.ui.segmentButton.text == "Segment"
    assert bench.segment(add_ct()) is not None


def test_closing_the_panel_ends_the_run(bench):
    bench.start(add_ct())
    bench.panel.cleanup()
    assert bench.process.killed


@pytest.mark.parametrize("study", [False, True])
def test_deleting_the_ct_cancels_its_run(bench, scene, study):
    volume = add_ct()
    bench.start(volume)
    if study:
        scene.StartState(scene.BatchProcessState)
    scene.RemoveNode(volume)
    if study:
        scene.EndState(scene.BatchProcessState)
    assert bench.process.cancelled
    bench.process.end(130)
    assert "deleted" in bench.said
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_renaming_and_deleting_nodes_during_a_run(bench, scene):
    volume = add_ct("before")
    first = bench.segment(volume)
    bench.panel.parameters.segment.earlier = EarlierResult.REPLACE
    bench.start(volume)
    volume.SetName("after")
    scene.RemoveNode(first)
    second = bench.finish()
    assert second.GetName() == "after segmentation"
    assert len(rows(second)) == 16


def test_changed_ct_drops_the_result(bench, scene):
    volume = add_ct()
    bench.start(volume)
    slicer.util.updateVolumeFromArray(volume, np.zeros((10, 10, 10), np.int16))
    bench.finish()
    assert "changed during the run" in bench.said
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_what_does_not_look_like_a_ct_is_asked_about(make_panel):
    bench = Bench(make_panel, "force", None)
    volume = add_ct("MR 1")
    for _ in range(2):
        bench.start(volume)
        path = bench.process.arguments[1]
        bench.process.fail(Problem(Code.NOT_A_CT, path, "a CT in HU", "8-bit grey values",
                                   "--force segments it anyway"))
        bench.process.end(1)
        if len(bench.services.processes) == 2:
            assert "--force" in bench.process.arguments
            bench.process.end(1)
    assert bench.services.dialogs.asked[0][1] == "MR 1: expected a CT in HU, found 8-bit grey values"
    assert len(bench.services.processes) == 3
    assert bench.ui.segmentButton.text == "Segment"


def test_no_organ_at_all_is_a_result(bench):
    result = bench.segment(add_ct(), array=np.zeros_like(phantom()[1]))
    assert [listed.organ for listed in rows(result)] == list(WORD16.names)
    assert "0 of 16 organs found" in bench.said


def test_large_ct_is_copied_in_pieces_and_can_be_cancelled(make_panel, until, monkeypatch):
    monkeypatch.setattr(voxel_counts, "SMALL", 0)
    monkeypatch.setattr(segment_run, "SMALL", 0)
    bench = Bench(make_panel)
    volume = add_ct()
    bench.start(volume)
    assert bench.ui.segmentButton.text == "Cancel"
    assert not bench.services.processes
    bench.ui.segmentButton.click()
    assert bench.ui.segmentButton.text == "Segment"
    assert bench.said == "Cancelled."
    assert not list(Path(slicer.app.temporaryPath).glob("partialorganseg-*"))
    bench.start(volume)
    until(lambda: bench.services.processes)
    bench.finish()
    until(lambda: bench.panel.parameters.segmentation is not None)
    assert np.array_equal(label_array(bench.panel.parameters.segmentation, volume, "liver"), phantom()[1] == 1)
