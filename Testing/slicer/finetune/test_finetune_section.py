"""Section Fine-tune: what it offers, nodes and scenes that come and go, and the new model."""

import json

import pytest
import qt
import slicer
from panel_helpers.doubles import FakeInstaller
from panel_helpers.finetune_course import Course, column, tables
from panel_helpers.scenes import add_ct, add_result, decide
from panel_helpers.start_models import write_model
from PartialOrganSegPanel.finetune.plots import LOSS
from PartialOrganSegPanel.finetune.run import new_run_folder
from PartialOrganSegPanel.shell.parameters import Plot

from PartialOrganSegLib.finetuning.verdict import Verdict, VerdictKind
from PartialOrganSegLib.models.folders import user_models

# --- buttons and the list

def test_buttons_tell_why_they_are_disabled(course):
    ui = course.ui
    assert "no CT" in ui.startButton.toolTip
    _, result = course.add_case()
    assert ui.startButton.enabled
    ui.caseTable.item(0, 0).setCheckState(qt.Qt.Unchecked)
    assert "Tick" in ui.startButton.toolTip
    assert not ui.startButton.enabled
    ui.caseTable.item(0, 0).setCheckState(qt.Qt.Checked)
    slicer.mrmlScene.RemoveNode(result)
    assert "Nothing to learn from" in ui.startButton.toolTip
    course.add_case("other")
    for name, reason in (("a b", "letters"), ("embedded", "shipped"), ("-x", "letters")):
        course.settings.name = name
        assert not ui.startButton.enabled
        assert reason in ui.startButton.toolTip
    course.settings.name = "mine-1"
    assert ui.startButton.enabled
    write_model(user_models() / "mine-1", "mine-1")
    course.settings.model = "mine-1"
    for name in ("mine-1", "Mine-1"):
        course.settings.name = name
        assert "start model" in ui.startButton.toolTip
    course.settings.model = "embedded"
    assert ui.startButton.enabled
    course.settings.recipe = "/no/such.yaml"
    assert "no such file" in ui.startButton.toolTip
    course.settings.recipe = ""
    course.settings.replay = "phantom"
    assert "expected phantoms, none or a manifest" in ui.startButton.toolTip
    course.settings.replay = "none"
    ui.caseTable.item(1, 2).setCheckState(qt.Qt.Checked)
    assert "leave one to learn from" in ui.startButton.toolTip
    ui.measureBox.click()
    assert ui.startButton.enabled
    assert "no finished run" in ui.compareButton.toolTip
    assert not ui.overlaysButton.enabled
    assert "No before and after" in ui.overlaysButton.toolTip
    assert "no run to resume" in ui.resumeButton.toolTip
    assert "no finished run" in ui.useButton.toolTip
    assert not ui.resumeButton.enabled
    assert not ui.useButton.enabled
    course.panel.run(["train"], print, print, print)
    for button in (ui.startButton, ui.resumeButton, ui.useButton, ui.folderButton, ui.recipeButton,
                   ui.replayButton, ui.compareButton):
        assert not button.enabled
        assert "Another run" in button.toolTip


def test_missing_packages_disable_the_buttons(make_panel, tmp_path):
    course = Course(make_panel, tmp_path, installer=FakeInstaller("torch>=2.4"))
    course.add_case()
    assert "packages" in course.ui.startButton.toolTip
    assert not course.ui.startButton.enabled


def test_the_list_follows_review_and_renaming(course):
    volume, result = course.add_case("CT Ä", "liver", "left_kidney")
    table = course.ui.caseTable
    assert [table.item(0, at).text() for at in range(2)] == ["CT Ä", "accepted: liver, left kidney"]
    assert course.ui.casesLabel.text == "1 of 1 CTs are learnt from. Organs: liver, left kidney."
    volume.SetName("renamed")
    decide(result, "liver", state="predicted")
    course.panel.refresh()
    assert [table.item(0, at).text() for at in range(2)] == ["renamed", "accepted: left kidney"]
    add_ct("second")
    assert table.item(1, 1).text() == "nothing yet"
    assert table.item(1, 0).checkState() == qt.Qt.Unchecked


def test_of_several_segmentations_the_list_names_the_one_that_counts(course):
    volume, first = course.add_case("CT", "liver", "spleen")
    newer = add_result(volume)
    course.panel.refresh()
    assert course.ui.caseTable.item(0, 1).text() == "accepted: liver, spleen"
    decide(newer, "pancreas")
    course.panel.parameters.segmentation = newer
    assert course.ui.caseTable.item(0, 1).text() == f"accepted: pancreas; accepted in {newer.GetName()}"
    course.panel.parameters.segmentation = first
    assert course.ui.caseTable.item(0, 1).text() == f"accepted: liver, spleen; accepted in {first.GetName()}"


def test_ticks_come_back_with_the_scene(make_panel, tmp_path, scene):
    course = Course(make_panel, tmp_path / "runs")
    course.add_case()
    course.ui.caseTable.item(0, 0).setCheckState(qt.Qt.Unchecked)
    course.settings.minutes = 3.5
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert course.ui.caseTable.rowCount == 0
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert course.ui.caseTable.item(0, 0).checkState() == qt.Qt.Unchecked
    assert course.ui.minutesBox.value == 3.5


def test_a_folded_section_is_up_to_date_when_it_is_unfolded(course):
    course.ui.finetuneCollapsible.collapsed = True
    course.add_case()
    course.ui.finetuneCollapsible.collapsed = False
    assert course.ui.caseTable.rowCount == 1
    assert course.ui.startButton.enabled
    course.start()
    course.ui.finetuneCollapsible.collapsed = True
    course.process.say("metric", step=10, loss=2.0)
    course.finish()
    course.ui.finetuneCollapsible.collapsed = False
    assert course.ui.startButton.text == "Start"
    assert course.ui.diceTable.rowCount == 2


# --- nodes and scenes

def test_renaming_and_deleting_nodes_during_a_run(course, scene):
    volume, result = course.add_case()
    course.start()
    course.plan()
    course.process.say("metric", step=10, loss=2.0)
    scene.RemoveNode(volume)
    scene.RemoveNode(result)
    for node in list(tables().values()):
        scene.RemoveNode(node)
    for class_name in ("vtkMRMLPlotSeriesNode", "vtkMRMLPlotChartNode"):
        for node in slicer.util.getNodesByClass(class_name):
            node.SetName("mine now")
    course.process.say("metric", step=20, loss=1.0)
    assert column(LOSS, "loss") == [2.0, 1.0]
    assert len(slicer.util.getNodesByClass("vtkMRMLPlotChartNode")) == 2
    course.finish()
    assert course.ui.diceTable.rowCount == 2


def test_the_start_model_may_go_during_a_run(course, monkeypatch):
    course.add_case()
    course.start()
    monkeypatch.setattr("PartialOrganSegPanel.finetune.section.installed_models", dict)
    course.panel.refresh()
    course.process.say("metric", step=10, loss=2.0)
    assert column(LOSS, "loss") == [2.0]
    course.process.end(1)
    assert "No model" in course.ui.startButton.toolTip or "no CT" in course.ui.startButton.toolTip


def test_scene_closed_during_a_run(course, scene):
    course.add_case()
    course.start()
    course.plan()
    process, run = course.process, course.run
    course.settings.plot = Plot.DICE
    scene.Clear(0)
    assert process.killed
    process.end(9, crashed=True)
    assert course.ui.startButton.text == "Start"
    assert course.said == ""
    assert not tables()
    course.services.dialogs.folder = run  # its folder stays: it can be resumed
    course.ui.folderButton.click()
    assert course.ui.resumeButton.enabled


def imported(scene, folder, **settings):
    """A scene file with these settings of section Fine-tune."""
    node = slicer.mrmlScene.GetSingletonNode("PartialOrganSeg", "vtkMRMLScriptedModuleNode")
    before = {name: node.GetParameter(f"finetune.{name}") for name in settings}
    for name, value in settings.items():
        node.SetParameter(f"finetune.{name}", json.dumps(value))
    assert slicer.util.saveScene(str(folder / "other.mrb"))
    for name, value in before.items():
        node.SetParameter(f"finetune.{name}", value)
    return str(folder / "other.mrb")


@pytest.mark.parametrize("end", ["done", "failed"])
def test_a_scene_imported_during_a_run_does_not_take_its_place(course, scene, tmp_path, end):
    course.add_case()
    other_scene = imported(scene, tmp_path, run=str(tmp_path), minutes=7.0)
    course.start()
    run = course.run
    course.plan()
    course.process.say("progress", stage="training", done=3, total=40, eta_s=75.2)
    slicer.util.loadScene(other_scene)
    assert course.settings.minutes == 7  # it was imported
    assert course.run == run
    assert course.section.strip.bar.visible
    assert course.said == "learning: 3 of 40, 1 min 15 s left"
    assert "1.5 min" in course.ui.runLabel.text
    course.settings.run = ""  # as a scene view does that is restored
    if end == "done":
        course.finish(run)
        assert course.ui.diceTable.rowCount == 2
        assert course.ui.useButton.enabled
    else:
        course.process.end(1)
        assert course.ui.resumeButton.enabled
    assert course.run == run
    assert course.ui.folderEdit.text == str(run)


def test_a_scene_imported_while_cts_are_written_changes_no_setting(course, scene, tmp_path):
    course.add_case()
    course.settings.minutes = 2.0
    other_scene = imported(scene, tmp_path, run=str(tmp_path), minutes=7.0)
    course.ui.startButton.click()
    slicer.util.loadScene(other_scene)
    course.write()
    assert course.option("--minutes") == "2"
    assert course.option("-o") == str(course.run)
    assert course.run != tmp_path


def test_scene_closed_before_the_run_began_to_learn(course, scene):
    course.add_case()
    course.start()
    run = course.run
    scene.Clear(0)
    assert not run.exists()


def test_panel_closed_during_a_run(course):
    course.add_case()
    course.start()
    course.panel.cleanup()
    assert course.process.killed


# --- the new model

def test_use_this_model_installs_and_selects_it(course):
    course.add_case()
    course.settings.name = "small-finetuned"
    course.start()
    course.finish()
    course.ui.useButton.click()
    assert course.process.arguments == ["models", "install", str(course.run / "model"), "--json-events"]
    write_model(user_models() / "small-finetuned", "small-finetuned")
    course.process.say("result", name="small-finetuned", version="1.0", folder="/x")
    course.process.end(0)
    segment = course.panel.section("Segment")
    assert course.panel.parameters.segment.model == "small-finetuned"
    assert segment.ui.modelBox.currentText == "small-finetuned"
    assert course.ui.startModelBox.findText("small-finetuned") >= 0
    assert course.settings.model == course.ui.startModelBox.currentText == "small-finetuned"
    assert course.settings.name == ""
    assert course.ui.startButton.enabled
    assert course.said == "Installed: small-finetuned 1.0."


def test_a_worse_model_is_used_only_after_a_question(course):
    course.add_case()
    course.start()
    course.finish(selected="start", verdict=Verdict(VerdictKind.KEPT_ORGAN_LOST, "liver", 0.9, 0.8).as_data())
    assert course.ui.runLabel.text.startswith("The start model is the better one: liver lost more than 0.02 (0.900")
    course.services.dialogs.answers = [None, "use"]
    course.ui.useButton.click()
    assert len(course.services.processes) == 1
    assert "liver lost" in course.services.dialogs.asked[0][1]
    course.ui.useButton.click()
    assert course.process.arguments[:2] == ["models", "install"]


def test_runs_have_folders_of_their_own(tmp_path):
    folders = [new_run_folder(tmp_path / "neu ä") for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(folder.is_dir() for folder in folders)
