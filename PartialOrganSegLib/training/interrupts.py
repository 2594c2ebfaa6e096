"""SIGINT and SIGTERM during training: asked to stop, the loop finishes its step first."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from ..cancelling import SIGNALS


@contextlib.contextmanager
def stop_asked() -> Iterator[list[int]]:
    """A list that is no longer empty once a signal came. Outside the main thread it stays empty."""
    asked: list[int] = []
    try:
        before = {number: signal.signal(number, lambda received, _frame: asked.append(received)) for number in SIGNALS}
    except ValueError:
        before = {}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_in_worker() -> None:
    """For loader processes: they leave signals to the main one."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
