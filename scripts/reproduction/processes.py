"""Commands as processes of their own, a few at a time: a run that fails or leaks leaves the others as they are."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence

POLL_SECONDS = 0.2
STOP_SECONDS = 120  # a training finishes its step and writes a checkpoint before it ends


def run_commands(commands: Sequence[Sequence[str]], at_once: int) -> Iterator[tuple[int, int]]:
    """(number, exit code) of each command as it ends, `at_once` of them at a time, begun in their order.

    Whatever ends the iteration early (Ctrl-C, another exception, nobody asking on) stops those that still run.
    """
    waiting = list(range(len(commands)))
    running: dict[int, subprocess.Popen[bytes]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                number = waiting.pop(0)
                running[number] = subprocess.Popen(list(commands[number]), stdin=subprocess.DEVNULL)
            ended = [number for number, process in running.items() if process.poll() is not None]
            for number in ended:
                yield number, running.pop(number).returncode
            if not ended:
                time.sleep(POLL_SECONDS)
    finally:
        # Also where the caller's loop was left by an exception: a generator is closed then.
        _stop(list(running.values()))


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
