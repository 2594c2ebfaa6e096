"""JSON events: one object a line, and time left from what this process has done itself."""

from __future__ import annotations

import io
import json

import pytest

from PartialOrganSegLib import events
from PartialOrganSegLib.events import ConsoleReporter, JsonReporter


def etas(monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, int]], total: int) -> list[float | None]:
    """The times left that are reported when a second passes between the `steps`: (stage, steps done)."""
    clock = iter(range(1000))
    monkeypatch.setattr(events.time, "monotonic", lambda: float(next(clock)))
    stream = io.StringIO()
    reporter = JsonReporter(stream)
    for stage, step in steps:
        reporter.progress(stage, step, total)
    return [json.loads(line)["eta_s"] for line in stream.getvalue().splitlines()]


def test_time_left_counts_what_is_done(monkeypatch: pytest.MonkeyPatch):
    assert etas(monkeypatch, [("a", 0), ("a", 0), ("a", 1), ("a", 2)], 4) == [None, None, 6.0, 3.0]


def test_time_left_of_a_resumed_run_does_not_count_the_steps_before_it(monkeypatch: pytest.MonkeyPatch):
    # Two steps in two seconds, whatever 901 before them took on another day.
    times_left = etas(monkeypatch, [("a", 901), ("a", 902), ("a", 903)], 1000)
    assert times_left[0] is None
    assert times_left[2] == pytest.approx(2 / 3 * 97, abs=0.1)


def test_each_stage_has_its_own_clock(monkeypatch: pytest.MonkeyPatch):
    assert etas(monkeypatch, [("a", 0), ("a", 1), ("b", 0), ("b", 2)], 4) == [None, 3.0, None, 1.0]


def test_without_a_terminal_long_work_prints_a_line_once_in_a_while(monkeypatch: pytest.MonkeyPatch,
                                                                    capsys: pytest.CaptureFixture[str]):
    seconds = 0.0
    monkeypatch.setattr(events.time, "monotonic", lambda: seconds)
    reporter = ConsoleReporter()
    for step in range(200):
        seconds += 1.0
        reporter.progress("reading cases" if step < 20 else "training", step, 200)
    assert capsys.readouterr().err.splitlines() == [
        "reading cases: 9 of 200 (0.2 min since the start)", "training: 20 of 200 (0.3 min since the start)",
        "training: 80 of 200 (1.4 min since the start)", "training: 140 of 200 (2.4 min since the start)"]


def test_without_a_terminal_quick_work_prints_nothing(capsys: pytest.CaptureFixture[str]):
    reporter = ConsoleReporter()
    for step in range(200):
        reporter.progress("training", step, 200)
    assert capsys.readouterr().err == ""


def test_a_bar_that_gave_way_to_a_line_goes_on_with_its_time(monkeypatch: pytest.MonkeyPatch):
    """Of four CTs one was done after 10 s: after 12 s the others need 36 s, whatever was printed in between."""
    now = [1000.0]
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(events.sys, "stderr", terminal)
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    reporter = ConsoleReporter()

    def shown(seconds: float, stage: str, done: int) -> str:
        now[0] += seconds
        reporter.progress(stage, done, 4)
        return terminal.getvalue().rpartition("\r")[2]

    shown(0, "cases", 0)
    now[0] += 10
    reporter.close()
    shown(0, "cases", 1)
    assert "1/4 [00:12<00:36" in shown(2, "cases", 1)
    # The next CT's windows are another matter, and so is a stage that begins again.
    reporter.close()
    shown(0, "segment", 1)
    assert "2/4 [00:05<00:10" in shown(5, "segment", 2)
    reporter.close()
    shown(0, "segment", 0)
    assert "1/4 [00:03<00:0" in shown(3, "segment", 1)
