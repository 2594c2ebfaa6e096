"""What a long command reports while it works: to a person as a progress bar, to a program as JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TextIO

from tqdm import tqdm

from .errors import Problem, Severity


class Reporter:
    """Says nothing: the default for library use and the interface of the others.

    `position`: the stage of the latest progress and how much of it was done, where a reporter remembers that.
    """

    position: tuple[str, int, int] | None = None

    def started(self, **facts: object) -> None:
        """A command began, with its settings."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` units of a named stage are finished."""

    def metric(self, **values: object) -> None:
        """A measured figure, e.g. loss or Dice."""

    def warning(self, message: str | Problem) -> None:
        """Something a user should know that does not stop the work, as data or as a text."""

    def result(self, **facts: object) -> None:
        """Something finished: written files, volumes, checks."""

    def error(self, message: str | Problem) -> None:
        """What stopped the work, as data or as a text of one line."""

    def close(self) -> None:
        """Ends an open progress bar."""


class CollectedWarnings(Reporter):
    """Keeps the warnings of work that somebody else tells of, and nothing more."""

    def __init__(self) -> None:
        self.warnings: list[str | Problem] = []

    def warning(self, message: str | Problem) -> None:
        self.warnings.append(message)


class JsonReporter(Reporter):
    """One JSON object a line: `{"event": "progress", "stage": "...", "done": 3, "total": 27, "eta_s": 41}`.

    `warning` and `error` carry the parts of a `Problem`: `code, subject, expected, found, hint` beside `message`.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._stage, self._since, self._first = "", 0.0, 0
        self._failed = False

    def _write(self, event: str, facts: Mapping[str, object]) -> None:
        if self._failed:
            return
        try:
            print(json.dumps({"event": event, **facts}, ensure_ascii=True, default=str), file=self._stream, flush=True)
        except OSError:  # nobody reads any more, or the disk is full: the work goes on
            self._failed = True

    def started(self, **facts: object) -> None:
        self._write("started", facts)

    def progress(self, stage: str, done: int, total: int) -> None:
        self.position = stage, done, total
        seconds = time.monotonic()
        if stage != self._stage:
            # A resumed run begins in the middle: what was done before says nothing of the time to come.
            self._stage, self._since, self._first = stage, seconds, max(0, done - 1)
        eta_s = None
        if seconds > self._since and done > self._first:
            eta_s = round((seconds - self._since) / (done - self._first) * (total - done), 1)
        self._write("progress", {"stage": stage, "done": done, "total": total, "eta_s": eta_s})

    def metric(self, **values: object) -> None:
        self._write("metric", values)

    def warning(self, message: str | Problem) -> None:
        self._write("warning", as_problem(message, Severity.WARNING).as_event())

    def result(self, **facts: object) -> None:
        self._write("result", facts)

    def error(self, message: str | Problem) -> None:
        self._write("error", as_problem(message).as_event())


# Between two lines of progress where there is no terminal: the first ones come soon, later ones seldom.
FIRST_LINE_S, LINES_APART_S = 10.0, 60.0


class ConsoleReporter(Reporter):
    """A progress bar on stderr where that is a terminal; otherwise a line once in a while, so that who looks into a log
    knows what the work is at."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._stage = ""
        self._began = self._last_line = time.monotonic()
        self._first, self._since = 0, 0.0  # what was done when the stage's bar was first shown, and when, for tqdm

    def progress(self, stage: str, done: int, total: int) -> None:
        before, self.position = self.position, (stage, done, total)
        if not sys.stderr.isatty():  # in a log file a bar would be thousands of lines
            self._line_of_progress(stage, done, total)
            return
        if self._bar is None or stage != self._stage or self._bar.total != total:
            # Closed for a line that was printed: the time goes on, or what is left of it would be of nothing.
            goes_on = self._bar is None and before is not None and before[::2] == (stage, total) and done >= before[1]
            self.close()
            self._bar, self._stage = tqdm(total=total, desc=stage, leave=False, file=sys.stderr, initial=done), stage
            if not goes_on:
                self._first, self._since = done, self._bar.start_t
            self._bar.initial, self._bar.start_t = self._first, self._since
        self._bar.update(done - self._bar.n)

    def _line_of_progress(self, stage: str, done: int, total: int) -> None:
        """Prints where the work is, if nothing was printed of it for long enough. Quick work prints nothing."""
        now = time.monotonic()
        apart = LINES_APART_S if stage == self._stage else FIRST_LINE_S
        if now - self._last_line < apart:
            return
        self._stage, self._last_line = stage, now
        self._print(f"{stage}: {done} of {total} ({(now - self._began) / 60:.1f} min since the start)")

    def metric(self, **values: object) -> None:
        texts = []
        for key, value in values.items():
            number = f"{value:.4g}" if isinstance(value, float) else str(value)
            texts.append(f"{key} {number}")
        self._print("  ".join(texts))

    def warning(self, message: str | Problem) -> None:
        self._print(f"warning: {as_problem(message, Severity.WARNING).text()}")

    def error(self, message: str | Problem) -> None:
        self._print(f"error: {as_problem(message).text()}")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    @staticmethod
    def _print(line: str) -> None:
        # tqdm moves an open bar out of the way.
        tqdm.write(line, file=sys.stderr)


def as_problem(message: str | Problem, severity: Severity = Severity.ERROR) -> Problem:
    """The problem itself, or the one that a text describes."""
    if isinstance(message, Problem):
        return replace(message, severity=severity)
    return Problem.parsed(str(message), severity=severity)
