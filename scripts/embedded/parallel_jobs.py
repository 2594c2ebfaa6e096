"""Jobs that each make one file, in several processes; what is there already is not made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch


@dataclass(frozen=True)
class Job:
    """`function(*arguments)`, which writes `target` when all else is done. Both must be picklable."""

    target: Path
    function: Callable[..., None]
    arguments: tuple[object, ...]


def run_jobs(jobs: Sequence[Job], workers: int) -> None:
    """Runs the jobs whose target is missing. One failure stops the script after the others have ended."""
    missing = [job for job in jobs if not job.target.exists()]
    # "spawn", as torch's threads do not survive a fork; one thread each, as the processes share the cores.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads,
                             initargs=(1,)) as pool:
        targets = {pool.submit(job.function, *job.arguments): job.target for job in missing}
        for number, future in enumerate(as_completed(targets), start=1):
            future.result()
            print(f"[{number}/{len(missing)}] {targets[future].name}", flush=True)
