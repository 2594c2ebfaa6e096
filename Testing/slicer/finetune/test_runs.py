"""Section Fine-tune: what a run asks of the command, how it is shown, cancelled and resumed."""

import json
from pathlib import Path

import pytest
import qt
import slicer
from panel_helpers.finetune_course import Course, column
from panel_helpers.start_models import write_model
from PartialOrganSegPanel.finetune import run as runs
from PartialOrganSegPanel.finetune.plots import LOSS
from PartialOrganSegPanel.finetune.verdict_text import measured_on_short, measured_on_text, verdict_text
from PartialOrganSegPanel.shell import steps

from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.errors import Code, Problem
from PartialOrganSegLib.finetuning.measured_on import MeasuredOn
from PartialOrganSegLib.finetuning.verdict import Verdict, VerdictKind
from PartialOrganSegLib.models.folders import user_models


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


def test_advanced_settings_reach_the_command(course, tmp_path):
    for name in ("Müller, Jörg", "second", "left out"):
        course.add_case(name)
    table = course.ui.caseTable
    table.item(2, 0).setCheckState(qt.Qt.Unchecked)
    assert not table.item(2, 2).flags() & qt.Qt.ItemIsEnabled
    table.item(0, 2).setCheckState(qt.Qt.Checked)
    assert course.ui.casesLabel.text.startswith("1 of 3 CTs are learnt from. Dice is measured on 1.")
    replay = tmp_path / "replay.yaml"
    replay.write_text("{}")
    course.services.dialogs.file = replay
    course.ui.replayButton.click()
    course.settings.steps = 7
    course.start()
    assert [course.option(f"--{name}") for name in ("validate", "steps", "replay")] == [
        "Müller_ Jörg", "7", str(replay)]
    assert "Müller_ Jörg" in [case.name for case in load_manifest(course.option("--data")).cases]
    course.process.end(1)
    course.ui.measureBox.click()
    course.start()
    assert course.option("--validate") == "none"


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
    assert course.said == "learning: 3 of 40, 1 min 15 s left"
    course.finish()
    assert course.said_of_run == "Done."
    table = course.ui.diceTable
    cells = [[table.item(line, at).text() for at in range(4)] for line in range(2)]
    assert cells == [["spleen", "0.500", "0.600", "+0.100"], ["liver", "0.900", "0.890", "-0.010"]]
    assert "left-out slabs" in table.item(0, 0).toolTip()
    assert table.visible
    assert course.ui.runLabel.text.startswith("The new model is the better one: no kept organ")
    assert course.ui.runLabel.text.endswith("+0.100. Measured on left-out slabs of the training "
                                             "cases; kept organs on phantoms.")
    assert course.ui.startButton.text == "Start"
    assert "finished" in course.ui.resumeButton.toolTip
    assert course.ui.useButton.enabled


@pytest.mark.parametrize(("organs", "text"), [
    ({"spleen": ("changed", MeasuredOn.CASES), "liver": ("kept", MeasuredOn.CASES)}, "Measured on left-out cases."),
    ({"spleen": ("changed", MeasuredOn.CASES)}, "Measured on left-out cases."),
    ({"liver": ("kept", MeasuredOn.PHANTOMS), "colon": ("kept", MeasuredOn.REPLAY)},
     "Only kept organs were measured, on phantoms and a left-out part of the replay set."),
    ({}, "learnt: mean +0.100.")])
def test_the_panel_says_what_was_measured_on(course, organs, text):
    course.add_case()
    course.start()
    course.finish(dice={
        organ: {"group": group, "before": 0.5, "after": 0.6, "measured_on": kind.text, "measured_on_kind": kind.value}
        for organ, (group, kind) in organs.items()})
    assert course.ui.runLabel.text.endswith(text)


@pytest.mark.parametrize("verdict", [
    Verdict(VerdictKind.KEPT_ORGAN_LOST, "liver", 0.9, 0.87),
    Verdict(VerdictKind.KEPT_ORGAN_LOST, "liver", 0.9, 0.87, 2),
    Verdict(VerdictKind.NOTHING_MEASURED), Verdict(VerdictKind.NOTHING_MEASURED, kept_measured=True, asked=True),
    Verdict(VerdictKind.NOTHING_MEASURED, unmeasured=("colon", "intestine"), no_better=("a", "b", "c", "d", "e")),
    Verdict(VerdictKind.NOTHING_MEASURED, unmeasured=("colon",)),
    Verdict(VerdictKind.NONE_BETTER), Verdict(VerdictKind.NOT_BETTER, gain=-0.1),
    Verdict(VerdictKind.NO_DIFFERENCE, gain=0.001, low=-0.01, high=0.012, units=5, unit="slabs"),
    Verdict(VerdictKind.NO_DIFFERENCE, gain=0.001, low=-0.01, high=0.012, units=3, unit="patients",
            already_good=("0.95 of liver", "0.96 of spleen"), asked=True),
    Verdict(VerdictKind.KEPT_ORGAN_DRIFTED, "esophagus", more=1, change=0.55, agreement=0.75, low=0.3, high=0.8,
            units=3, unit="CTs"),
    Verdict(VerdictKind.KEPT_ORGAN_DRIFTED, "spleen", change=0.05, agreement=0.2, units=1, unit="CTs"),
    Verdict(VerdictKind.BETTER, gain=0.1, kept_measured=True), Verdict(VerdictKind.BETTER)])
def test_verdicts_read_as_the_command_prints_them(verdict):
    assert verdict_text(json.loads(json.dumps(verdict.as_data()))) == verdict.text()
    assert verdict_text(verdict.as_data() | {"kind": "of next year"}) == ""


@pytest.mark.parametrize("kind", MeasuredOn)
def test_what_was_measured_on_reads_as_the_command_prints_it(kind):
    assert measured_on_text(kind.value, "") == kind.text
    assert measured_on_short(kind.value, "") == kind.short
    assert measured_on_text("", "of version 0.3") == measured_on_short("", "of version 0.3") == "of version 0.3"


def test_a_result_of_an_older_version_shows_its_reason(course):
    course.add_case()
    course.start()
    course.finish()
    facts = json.loads((course.run / "result.json").read_text()) | {"reason": "the reason"}
    del facts["verdict"]
    (course.run / "result.json").write_text(json.dumps(facts))
    assert runs.read_result(course.run).reason == "the reason"


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


# --- writing the CTs

@pytest.fixture
def every_piece_a_step(monkeypatch):
    """As if each piece of work took long: on a quick machine a small CT is written within one step."""
    monkeypatch.setattr(steps, "STEP_S", 0.0)


@pytest.mark.usefixtures("every_piece_a_step")
def test_the_window_lives_while_cts_are_written(course):
    for name in ("first", "second"):
        course.add_case(name)
    course.ui.startButton.click()
    assert course.ui.startButton.text == "Cancel"
    assert not course.services.processes
    assert "Another run" in course.panel.section("Segment").ui.segmentButton.toolTip
    lines = []
    while not course.services.processes:
        slicer.app.processEvents()
        lines.append(course.said)
    assert "writing CTs: 1 of 2" in lines


@pytest.mark.usefixtures("every_piece_a_step")
def test_cancel_while_cts_are_written(course):
    for name in ("first", "second"):
        course.add_case(name)
    course.ui.startButton.click()
    while "1 of 2" not in course.said:
        slicer.app.processEvents()
    course.ui.startButton.click()
    assert course.said == "Cancelled."
    assert not course.services.processes
    assert not list(Path(course.settings.folder).iterdir())
    assert course.ui.startButton.text == "Start"
    course.start()
    assert len(course.services.processes) == 1


def test_scene_closed_while_cts_are_written(course, scene):
    course.add_case()
    course.ui.startButton.click()
    run = course.run
    scene.Clear(0)
    slicer.app.processEvents()
    assert not run.exists()
    assert not course.services.processes
    assert course.ui.startButton.text == "Start"


def test_ct_deleted_while_cts_are_written(course, scene):
    volume, _ = course.add_case("Patient 1")
    course.ui.startButton.click()
    scene.RemoveNode(volume)
    course.write()
    assert "Patient 1" in course.said
    assert "deleted" in course.said
    assert not course.services.processes


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
    assert course.said_of_run == "Cancelled.\nResume goes on from where it was saved last."
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
    course = Course(make_panel, tmp_path, "force", None)
    course.add_case("MR")
    course.start()
    expected = "MR: expected a CT in HU, found 8-bit grey values"
    for _ in range(2):
        course.process.fail(Problem(Code.NOT_A_CT, "MR", "a CT in HU", "8-bit grey values",
                                    "--force learns from it all the same"))
        course.process.end(1)
    assert [question for _, question, _ in course.services.dialogs.asked] == [expected]
    assert len(course.services.processes) == 2
    assert "--force" in course.process.arguments
    assert course.ui.startButton.text == "Start"


def test_a_full_disk_is_told(course, monkeypatch):
    course.add_case()

    def full(*_):
        raise OSError("ct.nrrd: the CT could not be written; is the disk full?")

    monkeypatch.setattr("PartialOrganSegPanel.scene.written_cts.write_ct_steps", full)
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
