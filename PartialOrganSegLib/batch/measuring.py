"""Seconds and peak memory of a piece of work."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

import psutil

EVERY_S = 0.02
MIB = 1 << 20


class Usage:
    """What a block has used so far. `peak_mib` is the most that the whole process held at once, libraries included.

    `process_id` says which process does the work; it may be another one later.
    """

    def __init__(self, process_id: Callable[[], int]) -> None:
        self._start = time.monotonic()
        self._process_id = process_id
        self._peak = 0
        self.sample_memory()

    def sample_memory(self) -> None:
        """Notes how much memory is held at this moment."""
        with contextlib.suppress(psutil.Error):  # of one that has just ended
            self._peak = max(self._peak, psutil.Process(self._process_id()).memory_info().rss)

    @property
    def seconds(self) -> float:
        """Seconds since the block began, to two decimals."""
        return round(time.monotonic() - self._start, 2)

    @property
    def peak_mib(self) -> int:
        """The peak of resident memory in MiB."""
        self.sample_memory()
        return self._peak // MIB


@contextlib.contextmanager
def measuring(process_id: Callable[[], int] = os.getpid) -> Iterator[Usage]:
    """Measures the block. Memory is sampled every 20 ms, since no system reports the peak of a part of a process."""
    usage, finished = Usage(process_id), threading.Event()

    # In a thread, since the work that is measured runs in native code for seconds at a time.
    def watch() -> None:
        while not finished.wait(EVERY_S):
            usage.sample_memory()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        finished.set()
        thread.join()
