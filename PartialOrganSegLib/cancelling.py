"""Ctrl-C, SIGTERM and SIGHUP end a command tidily: as KeyboardInterrupt, but never between the renames of one result.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator

IMPATIENT_S = 2.0  # a second signal this soon is the same wish and must not disturb the clean-up

SIGNALS = [signal.SIGINT, signal.SIGTERM]
# Of a terminal or connection that was closed. Not under `nohup`, which ignores it so that the work goes on.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
    SIGNALS.append(signal.SIGHUP)
if hasattr(signal, "SIGBREAK"):  # Windows' way to ask a child process to end
    SIGNALS.append(signal.SIGBREAK)


class Resumable(KeyboardInterrupt):
    """Work was ended by the user and can go on; `where` says at which point it was, `how` by which command it goes on.
    """

    def __init__(self, where: str, how: str) -> None:
        super().__init__(f"{where}; {how}")
        self.where, self.how = where, how


# Signal handlers know the process only, so this is state of the process.
class _State:
    last = float("-inf")
    held = False
    pending = False


def _cancel(_signal: int, _frame: object) -> None:
    previous, _State.last = _State.last, time.monotonic()
    if _State.held:
        _State.pending = True
    elif _State.last - previous > IMPATIENT_S:
        raise KeyboardInterrupt


@contextlib.contextmanager
def cancellable() -> Iterator[None]:
    """Inside, SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt.

    Outside the main thread signals are the caller's matter.
    """
    _State.last = float("-inf")
    try:
        # Python sets handlers in the main thread only, and raises ValueError in others.
        before = {number: signal.signal(number, _cancel) for number in SIGNALS}
    except ValueError:
        before = {}
    try:
        yield
    finally:
        # Whoever set a handler of their own meanwhile keeps it.
        for number, handler in before.items():
            if signal.getsignal(number) is _cancel:
                signal.signal(number, handler)


def ignore_signals() -> None:
    """For a process that was cancelled and is about to end: a late second signal must not change its exit code."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds a cancellation back until the block is done. For moments only.

    In another thread than the main one this does nothing: signals interrupt the main thread alone, which has to wait
    for the others.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _State.held = True
    try:
        yield
    finally:
        _State.held = False
    if _State.pending:
        _State.pending = False
        raise KeyboardInterrupt


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Inside, the signals that cancel do not reach this thread, nor, for good, a process that is started meanwhile.

    They come afterwards. On Windows, which cannot hold them, nothing is done.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
