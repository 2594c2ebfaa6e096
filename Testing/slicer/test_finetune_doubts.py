"""Section Fine-tune: doubts about the cases are told while there is time to do something about them."""

import io
import json
import sys

import pytest

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
