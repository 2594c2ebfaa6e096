"""Section Fine-tune: doubts about the cases are told while there is time to do something about them."""

import io
import json
import sys

import pytest

from PartialOrganSegLib.errors import Code, Problem
from PartialOrganSegLib.events import JsonReporter
from PartialOrganSegLib.training.logbook import Logbook

DOUBT = "CT: spleen is labelled in a single slice (12 voxels); expect little of it"


@pytest.mark.parametrize(("end", "said"), [
    (0, f"Done.\n{DOUBT}"), (1, f"no room\n{DOUBT}\nResume goes on from the last checkpoint."),
    (130, f"Cancelled.\n{DOUBT}\nResume goes on from the last checkpoint.")])
def test_doubts_are_told_at_once_and_after_the_run(course, end, said):
    course.add_case()
    course.start()
    course.process.say("warning", message=DOUBT)
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
    assert course.said == said
    assert DOUBT not in course.ui.runLabel.text


def test_doubts_are_told_again_by_a_run_that_goes_on(course):
    course.add_case()
    course.start()
    course.process.say("warning", message=DOUBT)
    course.plan()
    course.process.say("warning", message="something of that day")
    course.start()
    course.process.end(130)
    (course.run / "plan.json").write_text(json.dumps({"said": [DOUBT]}))
    course.ui.resumeButton.click()
    assert course.ui.runLabel.text == DOUBT
    course.process.say("warning", message=DOUBT)
    course.finish()
    assert course.said == f"Done.\n{DOUBT}"
    course.start()
    assert course.ui.runLabel.text == ""


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
    course.process.say("warning", message=DOUBT)
    course.finish()
    assert course.said == f"Done.\n{DOUBT}"


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
    assert course.said == "Done."
