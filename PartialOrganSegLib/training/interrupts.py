"""SIGINT, SIGTERM and SIGHUP during training: asked to stop, the loop finishes its step first."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from ..cancelling import SIGNALS
from ..events import Reporter


@contextlib.contextmanager
def stop_asked(signals: list[int]) -> Iterator[None]:
    """Inside, signals are noted in the list `signals`. Outside the main thread none are."""
    try:
        before = {number: signal.signal(number, lambda received, _frame: signals.append(received))
                  for number in SIGNALS}
    # Only the main thread may set handlers.
    except ValueError:
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class InterruptibleReporter(Reporter):
    """For work that may take minutes and loses nothing when it is broken off: passes progress on, and raises
    KeyboardInterrupt once there is a signal in `signals`."""

    def __init__(self, reporter: Reporter, signals: list[int]) -> None:
        self._reporter, self._signals = reporter, signals

    def progress(self, stage: str, done: int, total: int) -> None:
        self._reporter.progress(stage, done, total)
        if self._signals and done < total:
            raise KeyboardInterrupt


def ignore_in_worker() -> None:
    """For loader processes: they leave signals to the main one."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
