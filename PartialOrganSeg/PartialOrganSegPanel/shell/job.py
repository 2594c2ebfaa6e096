"""One run of the library's command: its JSON events in, progress and one outcome out. No widgets here."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from PartialOrganSegLib.errors import Problem

from .problem_text import problem_of, problem_text
from .stage_text import stage_text

if TYPE_CHECKING:
    from .services import Process

MAX_LOG_LINES = 2000  # a run of hours must not fill the memory


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units of a stage; `eta_s` seconds are left of it, None while unknown."""

    stage: str
    done: int
    total: int
    eta_s: float | None

    def text(self) -> str:
        """What a person reads: `segmenting: 3 of 27, 41 s left`."""
        text = _("{stage}: {done} of {total}").format(stage=stage_text(self.stage), done=self.done, total=self.total)
        if self.eta_s is None or self.done >= self.total:
            return text
        minutes, seconds = divmod(round(self.eta_s), 60)
        duration = _("{seconds} s left")
        if minutes:
            duration = _("{minutes} min {seconds} s left")
        return f"{text}, {duration.format(minutes=minutes, seconds=seconds)}"


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `done`, `failed` or `cancelled`, with one line for the user and all its output."""

    state: str
    message: str
    log: str
    warnings: tuple[str, ...] = ()
    problem: Problem | None = None  # of a failed run, where the command said what it was


class Job:
    """Starts a process and follows it. `on_result(event)` sees `result` and `metric` events as they come, and
    `on_warning(message)` what a user should know, which the outcome of a run that is done holds, too."""

    def __init__(self, process: Process, on_progress: Callable[[Progress], None],
                 on_result: Callable[[dict[str, Any]], None], on_end: Callable[[Outcome], None],
                 on_warning: Callable[[str], None] = lambda message: None) -> None:
        self._process = process
        self._on_progress, self._on_result, self._on_end = on_progress, on_result, on_end
        self._on_warning = on_warning
        self._log: deque[str] = deque(maxlen=MAX_LOG_LINES)
        self._problem: Problem | None = None
        self._last_log_line = ""
        self._warnings: list[str] = []
        self._cancelled = ""
        self.running = False
        process.on_line, process.on_log, process.on_finished = self._line, self._log_line, self._finished

    def start(self, arguments: Sequence[str]) -> None:
        """Runs the command `arguments`, e.g. `["segment", "ct.nrrd", "-o", "folder"]`."""
        self.running = True
        self._process.start([*arguments, "--json-events"])

    def send(self, line: str) -> None:
        """Writes a line to the standard input of a command that asks for more than its arguments."""
        if self.running:
            self._process.send(line)

    def cancel(self, reason: str = "") -> None:
        """Ends the run within two seconds; `reason` is what the outcome says."""
        if self.running and not self._cancelled:
            self._cancelled = reason or _("Cancelled.")
            self._process.cancel()

    def kill(self) -> None:
        """Ends the run now, without an outcome: the scene or Slicer is closing."""
        if self.running:
            self.running = False
            self._process.kill()

    def _line(self, line: str) -> None:
        # a library may print to standard output: what is no event belongs into the log
        try:
            event = json.loads(line)
            kind = event["event"]
        except (ValueError, KeyError, TypeError):
            self._log_line(line)
            return
        # after `kill` there may still be lines on their way, for sections that are closing
        if not self.running:
            return
        if kind == "progress":
            self._on_progress(Progress(event["stage"], event["done"], event["total"], event.get("eta_s")))
        elif kind in ("result", "metric"):
            self._on_result(event)
        elif kind == "warning":
            text = problem_text(problem_of(event))
            self._warnings.append(text)
            self._on_warning(text)
        elif kind == "error":
            self._problem = problem_of(event)
        if kind in ("warning", "error"):
            self._log.append(f"{kind}: {event['message']}")

    def _log_line(self, line: str) -> None:
        self._log.append(line)
        self._last_log_line = line.strip() or self._last_log_line

    def _finished(self, code: int, crashed: bool) -> None:
        if not self.running:
            return
        self.running = False
        log = "\n".join(self._log)
        if self._cancelled:
            outcome = Outcome("cancelled", self._cancelled, log)
        elif code == 0 and not crashed:
            outcome = Outcome("done", "", log, tuple(self._warnings))
        else:
            outcome = Outcome("failed", self._why_failed(crashed), log, problem=self._problem)
        self._on_end(outcome)

    def _why_failed(self, crashed: bool) -> str:
        """A failure of the command is what it said. Without a word it has died, whatever exit code Slicer's launcher
        makes of that."""
        if self._problem is not None and not crashed:
            return problem_text(self._problem)
        reason = self._last_log_line or _("it gave no reason")
        if self._problem is not None:
            reason = problem_text(self._problem)
        return _("The work ended unexpectedly: {reason}").format(reason=reason)
