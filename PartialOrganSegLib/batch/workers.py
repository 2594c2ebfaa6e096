"""How many CTs of a run are segmented at a time on this computer.

One process with all cores has to wait while a CT is read, cleaned up and written by one of them; a process a core has
not, but needs memory for each, and its libraries are loaded once more.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from ..free_memory import free_memory
from ..segmenting.cores import Load, choose_threads, usable_cores
from .cases import Case
from .messages import Ready
from .options import BatchOptions
from .processing import Batch, seems_settled

# Of three CTs two cores have as much to wait, for the second process to start and for the one that has the last CT (by
# the times of runs and shards in docs/results/speed.md).
LEAST_CASES = 4


@dataclass(frozen=True)
class Plan:
    """At most so many processes for the cases that are to do, and the cores that they share."""

    processes: int = 1
    to_do: int = 1
    cores: int = 1


def plan(cases: Sequence[Case], batch: Batch, options: BatchOptions, device: str) -> Plan:
    """How many processes are worth while, before the first of them has said what it needs."""
    if len(cases) < 2 or not (options.workers or _worth_while(options, device, len(cases))):
        return Plan()
    to_do = sum(not seems_settled(case, batch) for case in cases)
    most = options.workers
    if most is None:
        if not _worth_while(options, device, to_do):
            return Plan()
        cores = cores_to_share()
        return Plan(_evenly(to_do, cores), to_do, cores)
    processes = max(1, min(int(most), to_do))
    if processes == 1:
        return Plan()
    return Plan(processes, to_do, cores_to_share())


def _worth_while(options: BatchOptions, device: str, to_do: int) -> bool:
    """Whether several processes could be faster, and nothing speaks against them."""
    # A shard is one of several processes already, and a time limit was chosen for a CT that has all cores.
    return device in ("auto", "cpu") and to_do >= LEAST_CASES and options.shard is None and options.time_limit is None


def cores_to_share() -> int:
    """Cores that a run may use now: the free ones, at least as many as windows are computed at a time on busy cores.

    No more than OMP_NUM_THREADS where the user has set that.
    """
    most = psutil.cpu_count(logical=False) or usable_cores()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isascii() and limit.isdigit():
        most = max(1, int(limit))
    return choose_threads(Load(), most).windows


def processes_that_fit(plan: Plan, options: BatchOptions, ready: Ready) -> int:
    """Of the planned processes those that the free memory has room for, and one on a GPU; all where the user said how
    many.

    `ready`: what the first of them has said.
    """
    if options.workers is not None:
        return plan.processes
    if ready.device != "cpu":
        return 1
    return _evenly(plan.to_do, min(plan.processes, max(1, free_memory() // ready.memory)))


def _evenly(cases: int, most: int) -> int:
    """The fewest processes that are done as soon as `most`, if all cases take as long."""
    return math.ceil(cases / math.ceil(cases / most))
