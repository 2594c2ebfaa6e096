"""How many threads work at a time: as many as there are cores that nobody else uses.

A convolution that is shared out among threads ends with the slowest of them. On a core that another program holds, that
one waits for its turn, and all others wait with it: two threads beside a busy neighbour took nine times as long as one.
So each window of a CT is computed by one thread, which also gives the same labels however many work at a time; what is
short operations on arrays has a single one. Windows need not wait for each other: some are computed at a time on busy
cores too, where a single thread would get a single share. An imported nnU-Net computes its windows one after the other,
with a thread a free core.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

# Windows that are computed at a time, if there are so many cores, however busy these are: a fair share beside a few
# programs, and no more, as each takes 200 MiB.
WINDOWS_ON_BUSY_CORES = 4
# Shorter looks at the machine's load say little; a longer one than this ago says nothing of now.
SHORTEST_S, LONGEST_S = 0.1, 20.0
QUOTAS = (Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


class Load:
    """The processor time that other programs take, from one look to the next."""

    def __init__(self) -> None:
        self._look()

    def _look(self) -> None:
        self._clock, self._busy_s = time.monotonic(), _busy_with_others_s()

    def cores_of_others(self) -> float:
        """Cores that other programs kept busy since the last look, on average."""
        elapsed = time.monotonic() - self._clock
        if elapsed > LONGEST_S:  # since then a CT was segmented, or a person was elsewhere
            self._look()
            elapsed = 0.0
        if elapsed < SHORTEST_S:
            time.sleep(SHORTEST_S - elapsed)
        elapsed, busy = time.monotonic() - self._clock, _busy_with_others_s() - self._busy_s
        self._look()
        return max(0.0, busy / elapsed)


def _busy_with_others_s() -> float:
    """Seconds of all cores that other programs have used since the machine started; what gives way does not count."""
    times = psutil.cpu_times()
    busy: float = times.user + times.system
    for name in ("irq", "softirq"):  # Linux alone has these
        busy += getattr(times, name, 0.0)
    return busy - time.process_time()


def usable_cores() -> int:
    """Cores that this process may use: those of its affinity, within the quota of its container."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # neither on macOS nor on Windows
        cores = len(os.sched_getaffinity(0))
    quota = _quota()
    if quota is not None:
        cores = min(cores, max(1, int(quota + 0.5)))
    return cores


def _quota() -> float | None:
    """Cores' worth of time that a container allows, of control groups version 2 or 1; None without a limit."""
    with contextlib.suppress(OSError, ValueError):
        limit, period = QUOTAS[0].read_text(encoding="ascii").split()
        if limit == "max":
            return None
        return int(limit) / int(period)
    with contextlib.suppress(OSError, ValueError):
        limit_us = int(QUOTAS[1].read_text(encoding="ascii"))
        if limit_us <= 0:
            return None
        return limit_us / int(PERIOD.read_text(encoding="ascii"))
    return None


@dataclass(frozen=True)
class Threads:
    """How many work at a time: on one window of an imported nnU-Net, and on windows of our own networks, one each."""

    on_a_window: int = 1
    windows: int = 1


def choose_threads(load: Load, limit: int) -> Threads:
    """Free cores, rounded, from 1 to `limit`; windows at least `WINDOWS_ON_BUSY_CORES` of these, free or not."""
    # Of all cores, as the load is that of all: which cores others use is not known.
    free = (os.cpu_count() or 1) - load.cores_of_others()
    most = min(limit, usable_cores())
    on_free_cores = max(1, min(most, round(free)))
    return Threads(on_free_cores, max(on_free_cores, min(most, WINDOWS_ON_BUSY_CORES)))
