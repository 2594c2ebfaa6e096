"""As many threads for the training as there are cores that nobody else uses; see `segmenting.cores` for why.

Where threads sleep while they wait (`process_settings.let_threads_sleep`, as those of the command do on Linux), all of
them are as fast or faster, however busy the machine is, and their number stays.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import psutil
import torch

from ..process_settings import threads_sleep
from ..segmenting.cores import Load, usable_cores
from ..segmenting.threads import threads

# Looks at the machine's load that are closer together than this say little.
LOOK_S = 5.0


class FreeCores:
    """Sets PyTorch's threads by the machine's load, from 1 to as many as there were at first."""

    def __init__(self, device: torch.device) -> None:
        """On a GPU nothing is changed: the CPU's threads are not what a step waits for."""
        self._active = device.type == "cpu" and not threads_sleep()
        self._limit = torch.get_num_threads()
        self._load, self._looked = Load(), time.monotonic()
        self._children_s = _children_s()

    def use(self) -> None:
        """Looks how many cores are free, and uses these. Between looks that are too close nothing changes."""
        if not self._active or time.monotonic() - self._looked < LOOK_S:
            return
        children_s, moment = _children_s(), time.monotonic()
        # Loader processes are ours: what they need is not taken by others.
        children = max(0.0, children_s - self._children_s) / (moment - self._looked)
        busy = max(0.0, self._load.cores_of_others() - children)
        self._children_s, self._looked = children_s, moment
        count = max(1, min(self._limit, usable_cores(), round((os.cpu_count() or 1) - busy)))
        if count != torch.get_num_threads():
            torch.set_num_threads(count)

    @contextlib.contextmanager
    def following(self) -> Iterator[FreeCores]:
        """Inside, `use` may change the number of threads; afterwards it is as it was."""
        with threads(self._limit):
            yield self


def _children_s() -> float:
    """Seconds of all cores that the process's children have used so far."""
    seconds = 0.0
    for child in psutil.Process().children(recursive=True):
        # One may end in between.
        with contextlib.suppress(psutil.Error):
            times = child.cpu_times()
            seconds += times.user + times.system
    return seconds
