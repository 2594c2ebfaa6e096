"""Work done a step at a time: the window lives in between, and every end is told once."""

import errno

import pytest
import slicer
from panel_helpers.doubles import Doubles
from PartialOrganSegPanel.shell.job import Progress
from PartialOrganSegPanel.shell.steps import Steps

from PartialOrganSegLib.errors import UserError


class Listener:
    """Work of three steps, what was heard of it, and whether it cleaned up."""

    def __init__(self, error=None):
        self.error, self.heard, self.outcomes, self.closed = error, [], [], False
        self.steps = Steps(self.work(), lambda progress: self.heard.append(progress.done), self.outcomes.append)

    def work(self):
        try:
            for number in range(3):
                yield Progress("work", number, 3, None)
            if self.error:
                raise self.error
            return "value"
        finally:
            self.closed = True

    @property
    def states(self):
        return [outcome.state for outcome in self.outcomes]


def test_steps_follow_each_other_while_the_window_works(until):
    listener = Listener()
    listener.steps.start()
    assert listener.heard == []
    until(lambda: listener.outcomes, 10)
    assert (listener.heard, listener.states, listener.steps.value) == ([0, 1, 2], ["done"], "value")
    for _ in range(5):
        slicer.app.processEvents()
    assert listener.states == ["done"]


@pytest.mark.parametrize("error", [OSError("the disk is full"), UserError("CT: expected a, found b")])
def test_an_error_of_the_user_is_the_outcome(until, error):
    listener = Listener(error)
    listener.steps.start()
    until(lambda: listener.outcomes, 10)
    assert listener.states == ["failed"]
    assert listener.outcomes[0].message == str(error)


def test_an_error_of_the_system_is_said_without_pythons_words(until):
    listener = Listener(FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/ct.nrrd"))
    listener.steps.start()
    until(lambda: listener.outcomes, 10)
    assert listener.outcomes[0].message == "/data/ct.nrrd: No such file or directory"


def test_cancel_between_two_steps_cleans_up(until):
    listener = Listener()
    listener.steps.start()
    until(lambda: len(listener.heard) == 2, 10)
    listener.steps.cancel("no longer wanted")
    assert listener.closed
    assert [(outcome.state, outcome.message) for outcome in listener.outcomes] == [("cancelled", "no longer wanted")]
    listener.steps.cancel()
    slicer.app.processEvents()
    assert (listener.heard, listener.states) == ([0, 1], ["cancelled"])


def test_kill_cleans_up_and_says_nothing(until):
    listener = Listener()
    listener.steps.start()
    until(lambda: listener.heard, 10)
    listener.steps.kill()
    slicer.app.processEvents()
    assert listener.closed
    assert not listener.outcomes


def test_the_panel_is_busy_meanwhile(make_panel, until):
    panel, ends = make_panel(Doubles()), []
    panel.run_steps(Listener().work(), lambda _progress: None, lambda *end: ends.append(end))
    assert "Another run" in panel.busy
    until(lambda: ends, 10)
    assert not panel.busy
    assert ends[0][0] == "value"
