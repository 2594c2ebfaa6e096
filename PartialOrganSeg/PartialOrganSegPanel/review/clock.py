"""Active editing time: seconds between signs of work, without the pauses."""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE_S = 60.0  # somebody who did nothing for longer was away; looking at a slice takes less


class ActiveTime:
    """Adds up seconds under a key (an organ) between signs of work. A gap above `PAUSE_S` does not count.

    `seconds` reads any monotonic clock.
    """

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._key = ""
        self._last: float | None = None
        self._pending: dict[str, float] = {}

    def switch(self, key: str) -> None:
        """Work goes on with another organ; an empty key stops the clock."""
        # the time until now is of the organ before
        self.sign()
        self._key = key
        self._last = None
        if key:
            self._last = self._seconds()

    def sign(self) -> None:
        """The user did something."""
        if self._last is None:
            return
        moment = self._seconds()
        gap = moment - self._last
        if gap <= PAUSE_S:
            self._pending[self._key] = self._pending.get(self._key, 0.0) + gap
        self._last = moment

    @property
    def pending(self) -> float:
        """Seconds not yet taken."""
        return sum(self._pending.values())

    def take(self) -> dict[str, float]:
        """Seconds per key since the last call, to be recorded."""
        seconds, self._pending = self._pending, {}
        return seconds
