"""Section Fine-tune: doubts about the cases are told while there is time to do something about them."""

import io
import json
import sys

import pytest
from panel_helpers.finetune_course import RESULT
from PartialOrganSegPanel.finetune.verdict_text import verdict_text
from PartialOrganSegPanel.shell.data_warning_text import data_warning_text
from PartialOrganSegPanel.shell.problem_text import problem_of, problem_text

from PartialOrganSegLib.errors import Code, Problem
from PartialOrganSegLib.events import JsonReporter
from PartialOrganSegLib.finetuning.data_warning import DataWarning, DataWarningKind
from PartialOrganSegLib.training.logbook import Logbook

WARNING = DataWarning(DataWarningKind.SINGLE_SLICE, "CT", ("spleen",), (12,)).problem()
DOUBT = "CT: spleen is labelled in a single slice (12 voxels); expect little of it"


@pytest.mark.parametrize(("end", "text"), [
    (0, f"Done.\n{DOUBT}"), (1, f"no room\n{DOUBT}\nResume goes on from where it was saved last."),
    (130, f"Cancelled.\n{DOUBT}\nResume goes on from where it was saved last.")])
def test_doubts_are_told_at_once_and_after_the_run(course, end, text):
    course.add_case()
    course.start()
    course.process.warn(WARNING)
    assert course.ui.runLabel.visible
    assert course.ui.runLabel.text == DOUBT
    course.plan()
    assert course.ui.runLabel.text == f"About 1.5 min, 40 steps; to be learnt: spleen.\n{DOUBT}"
    if end == 0:
        course.finish()
    elif end == 130:
        course.start()
        course.process.end(130)
    else:
        course.process.say("error", message="no room")
        course.process.end(end)
    assert course.said_of_run == text
    assert DOUBT not in course.ui.runLabel.text


def test_the_verdict_is_said_once(course):
    """The command warns of it; it stands above with what it was measured on."""
    course.add_case()
    course.start()
    course.process.warn(WARNING)
    course.process.say("warning", message=verdict_text(RESULT["verdict"]))
    course.finish()
    assert course.said_of_run == f"Done.\n{DOUBT}"
    assert verdict_text(RESULT["verdict"]) in course.ui.runLabel.text


@pytest.mark.parametrize("stored", [[WARNING.as_event()], [DOUBT]], ids=["data", "text of version 0.3"])
def test_doubts_are_told_again_by_a_run_that_goes_on(course, stored):
    course.add_case()
    course.start()
    course.process.warn(WARNING)
    course.plan()
    course.process.say("warning", message="something of that day")
    course.start()
    course.process.end(130)
    (course.run / "plan.json").write_text(json.dumps({"said": stored}))
    course.ui.resumeButton.click()
    assert course.ui.runLabel.text == DOUBT
    course.process.warn(WARNING)
    course.finish()
    assert course.said_of_run == f"Done.\n{DOUBT}"
    course.start()
    assert course.ui.runLabel.text == ""


@pytest.mark.parametrize("warning", [
    DataWarning(DataWarningKind.NOTHING_LABELLED, "a"), DataWarning(DataWarningKind.NOTHING_LABELLED, "a", ("x", "y")),
    DataWarning(DataWarningKind.SINGLE_SLICE, "a", ("spleen",), (12,)),
    DataWarning(DataWarningKind.MOSTLY_DRAWN, "a", ("background",), (0.923,)),
    DataWarning(DataWarningKind.NO_BACKGROUND, "a", ("liver", "spleen", "colon")),
    DataWarning(DataWarningKind.ORGAN_DENIED, "a", ("liver",), other="b", full=True),
    DataWarning(DataWarningKind.START_MODEL_FINDS, "a", ("liver", "colon"), (1200.4, 33.3), full=True),
    DataWarning(DataWarningKind.START_MODEL_FINDS, "a", ("liver",), (1200.4,)),
    DataWarning(DataWarningKind.SAME_IMAGE, "a", other="b"), DataWarning(DataWarningKind.LEARNT_BEFORE, "a"),
    DataWarning(DataWarningKind.CONTRADICTION, "a", ("liver", "spleen"), (77,), "b", ())])
def test_data_warnings_read_as_the_command_prints_them(warning):
    event = json.loads(json.dumps(warning.problem().as_event()))
    assert problem_text(problem_of(event)) == data_warning_text(event["data"]) == warning.text()


def test_a_data_warning_of_a_newer_library_is_told_in_its_words():
    event = WARNING.as_event() | {"data": WARNING.as_event()["data"] | {"kind": "of next year"}}
    assert problem_text(problem_of(event)) == DOUBT
    assert problem_text(problem_of({"message": "a text", "code": "of next year"})) == "a text"


def test_a_ct_is_told_by_its_name(course):
    course.services.dialogs.answers = [None]
    course.add_case("Müller, Jörg")
    course.start()
    path = course.run / "data" / "case_1.nrrd"
    course.process.say("warning", message=f"{path}: the header gives two different positions")
    assert course.ui.runLabel.text == "Müller_ Jörg: the header gives two different positions"
    course.process.fail(Problem(Code.NOT_A_CT, f"Müller_ Jörg: {path}", "a CT in HU", "8-bit grey values", "--force"))
    course.process.end(1)
    assert course.services.dialogs.asked[0][1] == "Müller_ Jörg: expected a CT in HU, found 8-bit grey values"
    assert str(path) not in course.said


@pytest.mark.parametrize("manifest", ["datasets: []", "{}", '{"datasets": []}', "[]"])
def test_a_run_that_was_started_elsewhere(course, manifest):
    course.add_case()
    course.start()
    (course.run / "data" / "manifest.yaml").write_text(manifest)
    course.process.warn(WARNING)
    course.finish()
    assert course.said_of_run == f"Done.\n{DOUBT}"


@pytest.mark.parametrize("plan", ["", "[]", '{"said": 3}'])
def test_a_plan_without_doubts(course, plan):
    course.add_case()
    course.start()
    course.plan()
    course.start()
    course.process.end(130)
    (course.run / "plan.json").write_text(plan)
    course.ui.resumeButton.click()
    assert course.ui.runLabel.text == ""


def test_what_only_helps_at_a_terminal_is_not_told(course, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    lines = io.StringIO()
    log = Logbook(tmp_path, 0, JsonReporter(lines))
    log.write({"step": 1, "loss": 2.0})
    log.time(100.0, 50.0)
    log.close()
    course.add_case()
    course.start()
    for line in lines.getvalue().splitlines():
        course.process.on_line(line)
    course.finish()
    assert course.said_of_run == "Done."
