"""Seconds and peak memory of a piece of work."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import psutil

EVERY_S = 0.02
MIB = 1 << 20


class Measured:
    """What a block took so far. `peak_mib` is the most that the whole process held at once, libraries included."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._process = psutil.Process()
        self._peak = 0
        self.look()

    def look(self) -> None:
        """Notes the memory that is held now."""
        self._peak = max(self._peak, self._process.memory_info().rss)

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._since, 2)

    @property
    def peak_mib(self) -> int:
        self.look()
        return self._peak // MIB


@contextlib.contextmanager
def measured() -> Iterator[Measured]:
    """Measures the block; memory is looked at every 20 ms, since no system tells the peak of a part of a process."""
    figures, over = Measured(), threading.Event()

    def watch() -> None:
        while not over.wait(EVERY_S):
            figures.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield figures
    finally:
        over.set()
        thread.join()
