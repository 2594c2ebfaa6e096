"""Signals that cancel: who hears of them, and when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from PartialOrganSegLib.cancelling import cancellable, signals_held, uninterrupted

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def test_a_process_that_is_started_while_signals_are_held_gets_none_before_it_can_ignore_them() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    code = "import signal; print(*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
    with signals_held():
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    text, _ = process.communicate()
    assert {int(signal.SIGINT), int(signal.SIGTERM)} <= set(map(int, text.split()))


def test_results_that_another_thread_moves_keep_no_signal_from_the_main_one() -> None:
    """Nor is that thread interrupted, in the middle of them or after."""
    moving, go_on, moved = threading.Event(), threading.Event(), []

    def move() -> None:
        with uninterrupted():
            moving.set()
            go_on.wait()
        moved.append("all")

    thread = threading.Thread(target=move)
    with cancellable():
        thread.start()
        moving.wait()
        try:
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        finally:
            go_on.set()
            thread.join()
    assert moved == ["all"]
