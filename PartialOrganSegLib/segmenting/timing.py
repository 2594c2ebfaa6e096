"""Seconds that the stages of a prediction take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import torch


class Stopwatch:
    """Calls a function and adds up the seconds it took."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._function, self.seconds = function, 0.0

    def __call__(self, argument: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter()
        result = self._function(argument)
        self.seconds += time.perf_counter() - start
        return result


@contextlib.contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Adds to `seconds` how long the block took."""
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
