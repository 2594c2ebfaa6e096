"""Section Fine-tune: what it offers, what a run asks of the command, plots, results, and nodes that come and go."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
from doubles import Doubles, FakeInstaller
from PartialOrganSegPanel.finetune_plots import DICE, LOSS, Curves
from PartialOrganSegPanel.finetune_run import new_run_folder
from PartialOrganSegPanel.parameters import Plot
from PartialOrganSegPanel.scribble_files import draw_labelmap
from PartialOrganSegPanel.scribble_strokes import new_strokes
from PartialOrganSegPanel.segment_table import ACCEPTED, row, set_state
from pictures import picture_of
from scenes import add_ct, add_result, phantom
from start_models import write_model

from PartialOrganSegLib.data.manifest import load_manifest
from PartialOrganSegLib.models.folders import user_models
from PartialOrganSegLib.organs import WORD16

RESULT = {"selected": "finetuned", "reason": "no kept organ lost more than 0.02; organs to be learnt: mean +0.100",
          "dice": {"liver": {"group": "kept", "before": 0.9, "after": 0.89, "measured_on": "phantoms"},
                   "spleen": {"group": "changed", "before": 0.5, "after": 0.6, "measured_on": "left-out slabs"}},
          "mean_change": {"changed": 0.1, "kept": -0.01}}


class Class:
    """The panel with its section unfolded, runs in `folder`, a user and a command that do what the test says."""

    def __init__(self, make_panel, folder, *answers, **options):
        self.services = Doubles(*answers, **options)
        self.panel = make_panel(self.services)
        self.section = self.panel.section("FineTune")
        self.ui = self.section.ui
        self.ui.finetuneCollapsible.collapsed = False
        self.settings.folder = str(folder)

    @property
    def settings(self):
        return self.panel.parameters.finetune

    @property
    def process(self):
        return self.services.processes[-1]

    @property
    def said(self):
        return self.section.strip.text.text

    @property
    def run(self):
        return Path(self.settings.run)

    def option(self, name):
        arguments = self.process.arguments
        return arguments[arguments.index(name) + 1]

    def add_case(self, name="CT", *organs):
        volume = add_ct(name)
        result = add_result(volume)
        for organ in organs or ("spleen",):
            set_state(result, row(result, organ).segment_id, ACCEPTED)
        self.panel.refresh()
        return volume, result

    def start(self):
        self.ui.startButton.click()

    def plan(self):
        """The command has prepared the run and begins to learn."""
        (self.run / "plan.json").write_text("{}")
        self.process.say("metric", steps=40, expected_minutes=1.5, changed="spleen")

    def finish(self, **changes):
        """The command ends well."""
        self.plan()
        write_model(self.run / "model", "small-finetuned")
        (self.run / "result.json").write_text(json.dumps(RESULT | changes))
        self.process.say("result", run=str(self.run), **RESULT)
        self.process.end(0)


@pytest.fixture
def course(make_panel, tmp_path):
    return Class(make_panel, tmp_path / "Läufe 1")


def tables():
    return {node.GetAttribute("PartialOrganSeg.FineTunePlot"): node for node in
            slicer.util.getNodesByClass("vtkMRMLTableNode")}


def column(chart, name):
    return slicer.util.arrayFromTableColumn(tables()[chart], name).tolist()


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
    course.settings.recipe = "/no/such.yaml"
    assert "no such file" in ui.startButton.toolTip
    course.settings.recipe = ""
    assert "no run to resume" in ui.resumeButton.toolTip
    assert "no finished run" in ui.useButton.toolTip
    assert not ui.resumeButton.enabled
    assert not ui.useButton.enabled
    course.panel.run(["train"], print, print, print)
    for button in (ui.startButton, ui.resumeButton, ui.useButton, ui.folderButton, ui.recipeButton):
        assert not button.enabled
        assert "Another run" in button.toolTip


def test_missing_packages_disable_the_buttons(make_panel, tmp_path):
    course = Class(make_panel, tmp_path, installer=FakeInstaller("torch>=2.4"))
    course.add_case()
    assert "packages" in course.ui.startButton.toolTip
    assert not course.ui.startButton.enabled


def test_the_list_follows_review_and_renaming(course):
    volume, result = course.add_case("CT Ä", "liver", "left_kidney")
    table = course.ui.caseTable
    assert [table.item(0, at).text() for at in range(2)] == ["CT Ä", "partial: liver, left kidney"]
    assert course.ui.casesLabel.text == "1 of 1 CTs are learnt from. Organs: liver, left kidney."
    volume.SetName("renamed")
    set_state(result, row(result, "liver").segment_id, "predicted")
    course.panel.refresh()
    assert [table.item(0, at).text() for at in range(2)] == ["renamed", "partial: left kidney"]
    add_ct("second")
    assert table.item(1, 1).text() == "unlabelled"
    assert table.item(1, 0).checkState() == qt.Qt.Unchecked


def test_ticks_come_back_with_the_scene(make_panel, tmp_path, scene):
    course = Class(make_panel, tmp_path / "runs")
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


# --- a run

def test_command_gets_cases_and_settings(course, tmp_path):
    write_model(user_models() / "small")
    course.add_case("Müller Jörg")
    course.add_case("left out")
    course.ui.caseTable.item(1, 0).setCheckState(qt.Qt.Unchecked)
    recipe = tmp_path / "my recipe.yaml"
    recipe.write_text("{}")
    course.services.dialogs.file = recipe
    course.ui.recipeButton.click()
    course.ui.startModelBox.setCurrentText("small")
    course.section._model_chosen(course.ui.startModelBox.currentIndex)
    course.settings.minutes, course.settings.device, course.settings.name = 2.5, "cpu", "mine"
    accepted = course.services.dialogs.answers = ["accept"]
    course.start()
    assert not accepted
    assert course.process.arguments[0] == "finetune"
    assert [course.option(f"--{name}") for name in ("model", "device", "minutes", "name", "recipe")] == [
        "small", "cpu", "2.5", "mine", str(recipe)]
    assert course.run == Path(course.option("-o"))
    assert course.run.parent == tmp_path / "Läufe 1"
    manifest = load_manifest(course.option("--data"))
    assert [case.name for case in manifest.cases] == ["Müller Jörg"]
    assert manifest.label_space.names == ("liver", "spleen", "left_kidney")


def test_defaults_are_left_to_the_command(course):
    course.add_case()
    course.start()
    assert not {"--minutes", "--name", "--recipe", "--resume"} & set(course.process.arguments)


def test_the_licence_is_asked_about_first(course, licences_known):
    licences_known.clear()
    course.services.dialogs.answers = [None, "accept"]
    course.add_case()
    course.start()
    assert not course.services.processes
    assert not Path(course.settings.folder).exists()
    course.start()
    assert len(course.services.processes) == 1


def test_a_run_is_shown_and_ends_well(course):
    course.add_case()
    course.start()
    assert course.ui.startButton.text == "Cancel"
    assert not course.ui.minutesBox.enabled
    assert "going on" in course.ui.resumeButton.toolTip
    course.plan()
    assert course.ui.runLabel.text == "About 1.5 min, 40 steps; to be learnt: spleen."
    course.process.say("progress", stage="training", done=3, total=40, eta_s=75.2)
    assert course.said == "training: 3 of 40, 1 min 15 s left"
    course.process.say("warning", message="CT: spleen is labelled in a single slice")
    course.finish()
    assert course.said == "Done.\nCT: spleen is labelled in a single slice"
    table = course.ui.diceTable
    cells = [[table.item(line, at).text() for at in range(4)] for line in range(2)]
    assert cells == [["spleen", "0.500", "0.600", "+0.100"], ["liver", "0.900", "0.890", "-0.010"]]
    assert "left-out slabs" in table.item(0, 0).toolTip()
    assert table.visible
    assert course.ui.runLabel.text.startswith("The new model is the better one: no kept organ")
    assert course.ui.startButton.text == "Start"
    assert "finished" in course.ui.resumeButton.toolTip
    assert course.ui.useButton.enabled


def test_the_result_comes_back_with_the_scene_and_its_folder(course, scene, tmp_path):
    course.add_case()
    course.start()
    course.finish()
    run = course.run
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert course.ui.diceTable.rowCount == 0
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert course.ui.diceTable.rowCount == 2
    assert course.ui.useButton.enabled
    run.rename(run.with_name("gone"))
    course.panel.refresh()
    assert course.ui.diceTable.rowCount == 0
    assert not course.ui.useButton.enabled
    course.services.dialogs.folder = run.with_name("gone")
    course.ui.folderButton.click()
    assert course.ui.diceTable.rowCount == 2
    assert course.settings.folder == str(run.parent)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"selected": 1, "reason": "", "dice": {"liver": 3}}'])
def test_a_damaged_result_is_no_result(course, text):
    course.add_case()
    course.start()
    course.finish()
    (course.run / "result.json").write_text(text)
    course.panel.refresh()
    assert course.ui.diceTable.rowCount == 0
    assert not course.ui.useButton.enabled


# --- cancel and resume

def test_cancel_before_learning_leaves_nothing(course):
    course.add_case()
    course.start()
    run = course.run
    assert (run / "data" / "manifest.yaml").is_file()
    course.start()
    assert course.process.cancelled
    course.process.end(130)
    assert course.said == "Cancelled."
    assert not run.exists()
    assert "no run to resume" in course.ui.resumeButton.toolTip


def test_cancel_and_resume(course):
    course.add_case()
    course.start()
    course.plan()
    course.process.say("metric", step=10, loss=2.0)
    course.process.say("metric", step=20, loss=1.0)
    course.start()
    course.process.end(130)
    assert course.said == "Cancelled.\nResume goes on from the last checkpoint."
    run = course.run
    (run / "log.jsonl").write_text('{"step": 10, "loss": 2.0}\n{"step": 20, "loss": 1.0}\n{"st')
    course.ui.resumeButton.click()
    assert course.process.arguments == ["finetune", "-o", str(run), "--resume", "--device", "auto", "--json-events"]
    assert column(LOSS, "loss") == [2.0, 1.0]
    course.process.say("metric", step=11, loss=1.9)  # the checkpoint was written at step 10
    assert column(LOSS, "loss") == [2.0, 1.9]
    course.finish()
    assert course.ui.useButton.enabled


def test_failure_and_crash_tell_the_reason(course):
    course.add_case()
    course.start()
    run = course.run
    course.process.say("error", message="nothing to learn from: expected a voxel labelled in one of 1 cases")
    course.process.end(1)
    assert course.said == "nothing to learn from: expected a voxel labelled in one of 1 cases"
    assert course.section.strip.log_button.visible
    assert not run.exists()
    course.start()
    course.plan()
    course.process.on_log("RuntimeError: out of memory")
    course.process.end(9, crashed=True)
    assert "out of memory" in course.said
    assert course.ui.resumeButton.enabled


def test_what_does_not_look_like_a_ct_is_asked_about(make_panel, tmp_path):
    course = Class(make_panel, tmp_path, "force", None)
    course.add_case("MR")
    course.start()
    said = "MR: expected a CT in HU, found 8-bit grey values"
    for _ in range(2):
        course.process.say("error", message=f"{said}; --force learns from it all the same")
        course.process.end(1)
    assert [question for _, question, _ in course.services.dialogs.asked] == [said]
    assert len(course.services.processes) == 2
    assert "--force" in course.process.arguments
    assert course.ui.startButton.text == "Start"


def test_a_full_disk_is_told(course, monkeypatch):
    course.add_case()

    def full(*_):
        raise OSError("ct.nrrd: the CT could not be written; is the disk full?")

    monkeypatch.setattr("PartialOrganSegPanel.finetune_export.write_ct", full)
    course.start()
    assert "disk full" in course.said
    assert not course.services.processes
    assert not list(Path(course.settings.folder).iterdir())


def test_a_folder_that_cannot_be_made_is_told(course, tmp_path):
    (tmp_path / "file").write_text("")
    course.settings.folder = str(tmp_path / "file")
    course.add_case()
    course.start()
    assert course.said
    assert not course.services.processes


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
    monkeypatch.setattr("PartialOrganSegPanel.finetune_section.installed_models", dict)
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


# --- plots

def test_plots_show_loss_and_dice_live(course):
    course.add_case()
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    before = layout.SlicerLayoutFourUpView
    layout.SetViewArrangement(before)
    course.start()
    course.plan()
    course.process.say("metric", step=0, dice_liver=0.9, dice_spleen=0.5, dice_mean=0.7)
    course.process.say("metric", step=10, loss=2.0, marginal_dice=0.5, gradient=3.0, learning_rate=1e-4, seconds=1.0,
                       waited=0.1)
    course.process.say("metric", step=20, loss=1.5, marginal_dice=0.4, gradient=3.0, learning_rate=1e-4, seconds=1.0,
                       waited=0.1)
    course.process.say("metric", step=20, dice_liver=0.9, dice_spleen=0.6, dice_mean=0.75)
    course.process.say("metric", step=20, total_seconds=12.0, waited_share=0.1)
    assert column(LOSS, "step") == [10, 20]
    assert column(LOSS, "marginal_dice") == [0.5, 0.4]
    assert column(DICE, "step") == [0, 20]
    assert column(DICE, "spleen") == [0.5, 0.6]
    charts = {node.GetTitle(): node for node in slicer.util.getNodesByClass("vtkMRMLPlotChartNode")}
    curves = {title: {chart.GetNthPlotSeriesNode(at).GetYColumnName()
                      for at in range(chart.GetNumberOfPlotSeriesNodes())} for title, chart in charts.items()}
    assert curves == {"Fine-tuning: loss": {"loss", "marginal_dice"}, "Fine-tuning: Dice": {"liver", "mean", "spleen"}}
    liver = next(node for node in slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode") if node.GetName() == "liver")
    assert np.allclose(liver.GetColor(), np.array([190, 90, 60]) / 255, atol=0.01)
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == charts["Fine-tuning: loss"].GetID()
    assert layout.GetViewArrangement() != before
    course.settings.plot = Plot.DICE
    course.section._plot_chosen(1)
    assert selection.GetActivePlotChartID() == charts["Fine-tuning: Dice"].GetID()
    course.settings.plot = Plot.NONE
    course.section._plot_chosen(2)
    assert layout.GetViewArrangement() == before


def test_next_run_uses_the_same_nodes_without_old_curves(course, scene):
    course.add_case()
    course.start()
    course.process.say("metric", step=0, dice_liver=0.9, dice_spleen=0.5)
    course.process.end(1)
    course.start()
    course.process.say("metric", step=0, dice_liver=0.8)
    assert [node.GetYColumnName() for node in slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")] == ["liver"]
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 2
    assert column(DICE, "liver") == [0.8]


def test_no_plot_is_shown_unless_wanted(course):
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    before = layout.SlicerLayoutFourUpView
    layout.SetViewArrangement(before)
    course.settings.plot = Plot.NONE
    course.add_case()
    course.start()
    course.process.say("metric", step=10, loss=2.0)
    assert layout.GetViewArrangement() == before


def test_curves_of_a_figure_that_is_missing_now_and_then():
    curves = Curves([{"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.0, "prior": 0.5}, {"note": "nothing"}])
    columns = curves.columns(LOSS)
    assert columns["step"].tolist() == [10, 20]
    assert np.isnan(columns["prior"][0])
    assert columns["prior"][1] == 0.5
    assert curves.columns(DICE)["step"].size == 0


# --- the new model

def test_use_this_model_installs_and_selects_it(course):
    course.add_case()
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
    assert course.said == "Installed: small-finetuned 1.0."


def test_a_worse_model_is_used_only_after_a_question(course):
    course.add_case()
    course.start()
    course.finish(selected="start", reason="liver lost more than 0.02")
    assert course.ui.runLabel.text == "The start model is the better one: liver lost more than 0.02."
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


def test_pictures(course, tmp_path):
    folder = Path(os.environ.get("PARTIALORGANSEG_PICTURES") or tmp_path)
    volume, _ = course.add_case("CT abdomen of Müller, Jörg", "liver", "spleen", "left_kidney")
    strokes = np.where(np.isin(phantom()[1], (0, 8)), phantom()[1], 255)
    draw_labelmap(new_strokes(volume, WORD16.organs), volume, strokes)
    course.add_case("second", "spleen")
    add_ct("third")
    window = course.section.widget.window()
    for section in course.panel.sections:
        section.widget.setVisible(section is course.section)
    course.start()
    course.plan()
    course.process.say("progress", stage="training", done=3, total=40, eta_s=75.2)
    picture_of(window, folder / "finetune_working.png")
    course.process.say("warning", message="CT abdomen of Müller, Jörg: spleen is labelled in a single slice (12); a "
                                          "few more slices would help")
    course.finish()
    window.resize(400, 900)
    picture_of(window, folder / "finetune_done.png")
    assert window.width == 400
    for name in ("working", "done"):
        assert (folder / f"finetune_{name}.png").stat().st_size > 5000
