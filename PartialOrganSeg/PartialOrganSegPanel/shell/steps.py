"""Work that only Slicer's own process can do, since it reads the scene: a step at a time, so that the window lives."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import qt
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError

from .job import Outcome, Progress
from .problem_text import problem_text

Work = Generator[Progress, None, Any]
Value = TypeVar("Value")
STEP_S = 0.03  # pieces shorter than this are done together: the window looks for events after each step


def counted(pieces: Generator[None, None, Value], progress: Progress) -> Generator[Progress, None, Value]:
    """Does work in pieces, several a step, and shows `progress` meanwhile; gives what the work returns."""
    try:
        while True:
            end = time.monotonic() + STEP_S
            next(pieces)
            while time.monotonic() < end:
                next(pieces)
            yield progress
    except StopIteration as done:
        # what follows the work, such as the result in the scene, is a step of its own
        yield progress
        return done.value
    finally:
        pieces.close()


class Steps:
    """Runs a generator, a step whenever the window has nothing else to do. Is cancelled and killed as a `job.Job`.

    The generator yields `Progress` and may raise OSError and UserError; it cleans up when it is closed. What it returns
    is `value` when `on_end` hears of `done`.
    """

    def __init__(self, work: Work, on_progress: Callable[[Progress], None], on_end: Callable[[Outcome], None]) -> None:
        self._work, self._on_progress, self._on_end = work, on_progress, on_end
        self.value: Any = None
        self._timer = qt.QTimer()
        # an interval of 0 is a step whenever no event waits
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._step)

    def start(self) -> None:
        """Returns at once; the first step follows when the window is idle."""
        self._timer.start()

    def cancel(self, reason: str = "") -> None:
        """Ends the work between two steps; `reason` is what the outcome says."""
        if self._timer.active:
            self.kill()
            self._on_end(Outcome("cancelled", reason or _("Cancelled."), ""))

    def kill(self) -> None:
        """Ends the work without an outcome: the scene or Slicer is closing."""
        self._timer.stop()
        # the generator's `finally` parts run now
        self._work.close()

    def _step(self) -> None:
        try:
            progress = next(self._work)
        except StopIteration as end:
            self.value = end.value
            self._end(Outcome("done", "", ""))
        except UserError as error:
            text = problem_text(error.problem)
            self._end(Outcome("failed", text, text, problem=error.problem))
        except OSError as error:
            text = str(error)
            if error.errno is not None and error.filename:  # of the system, without Python's words
                text = f"{error.filename}: {error.strerror}"
            self._end(Outcome("failed", text, text))
        except Exception as error:  # a fault of ours: the panel is free again, and the console shows where
            self._end(Outcome("failed", f"{type(error).__name__}: {error}", ""))
            raise
        else:
            self._on_progress(progress)

    def _end(self, outcome: Outcome) -> None:
        self._timer.stop()
        self._on_end(outcome)
