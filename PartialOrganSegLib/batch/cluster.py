"""Processes the cases of a batch with Ray: on this computer or on a running cluster.

Every worker is a process that loads the model once. When one dies, by a crash, for lack of memory or with its computer,
its case goes back to the queue and a new worker takes its place; the records make sure that a case that was finished in
the last moment is not done again. Output folder, CTs and model must exist under the same paths on every computer.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import psutil

from ..errors import Code, Problem, UserError
from ..events import CollectedWarnings, Reporter
from .cases import Case
from .processing import Batch, Explain, Outcome, Segment, process_case
from .records import FAILED, Record, read_record, record_file, write_record

MakeParts = Callable[[], tuple[Batch, Segment, Explain]]
# Ray's module, its handles of workers and its references to results have no types that a checker could use.
_Ray: TypeAlias = Any
_Handle: TypeAlias = Any
_Reference: TypeAlias = Any

LOCAL = "local"
CORES_PER_WORKER = 4  # beyond that a window of the light networks hardly gets faster
MAX_TRIES = 3  # a case that kills its worker so often is itself the cause
MAX_START_TRIES = 3


class _Worker:
    """Runs in a process apart, with one loaded model."""

    def __init__(self, make_parts: MakeParts, batch: Batch) -> None:
        worker_batch, self._segment, self._explain = make_parts()
        self._batch = batch
        if worker_batch.model != batch.model:
            raise UserError(code=Code.CLUSTER_UNFIT, expected="the same model on every computer",
                            found="one with another checksum")
        self._segment.prepare()

    def ready(self) -> None:
        """Returns once the process runs and has loaded the model."""

    def process_case(self, case: Case, wait: bool) -> Outcome | None:
        reporter = CollectedWarnings()
        outcome = process_case(case, self._batch, self._segment, self._explain, reporter, wait)
        if outcome is None:
            return None
        return replace(outcome, warnings=reporter.warnings)


@dataclass
class _Task:
    case: Case
    wait: bool = False
    deaths: int = 0


def process_all(cases: Sequence[Case], batch: Batch, make_parts: MakeParts, address: str, workers: int | None,
                gpus: bool, reporter: Reporter) -> Generator[Outcome]:
    """Outcomes as they come; `make_parts()` runs in a worker's process and makes what it works with.

    `workers` processes, each with a GPU if the cluster has any and `gpus` allows them. Raises UserError without Ray,
    without the cluster, for more workers than it has room for, and when none can start.
    """
    # A worker's process may start in another folder.
    cases = [replace(case, path=case.path.absolute()) for case in cases]
    ray = _connect(address, workers)
    try:
        yield from _WorkerPool(ray, batch, make_parts, workers, gpus, len(cases)).process_all(cases, reporter)
    finally:
        ray.shutdown()


def _connect(address: str, workers: int | None) -> _Ray:
    """Ray, initialised. It reports nothing to its makers, and on this computer alone nobody else can reach it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address == LOCAL:  # read when Ray is imported; makes 127.0.0.1 its address, on Linux as well
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
    except ImportError:
        raise UserError(code=Code.PACKAGE_MISSING, subject="--ray", expected="the package ray",
                        found="none",
                        hint='pip install "ray>=2.52"') from None
    _check_port(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "critical"}
    message = ""
    # A busy computer is too slow for the limits that Ray's own processes set each other: then it is tried again.
    for _ in range(MAX_START_TRIES):
        before = set(psutil.Process().children(recursive=True))
        try:
            if address == LOCAL:
                ray.init(num_cpus=max(os.cpu_count() or 1, workers or 1), include_dashboard=False, **quiet)
            else:
                ray.init(address=address, **quiet)
            return ray
        except Exception as error:  # Ray raises ConnectionError, ValueError, RuntimeError and bare Exception
            message = " ".join(str(error).split())[:300]
            ray.shutdown()
            # Ray leaves processes behind when its start fails in the middle.
            for process in set(psutil.Process().children(recursive=True)) - before:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        if address != LOCAL:
            break
    raise UserError(code=Code.CLUSTER_UNREACHABLE, subject=f"--ray {address}", expected="a Ray cluster", found=message)


def _check_port(address: str) -> None:
    """Raises UserError when nobody answers at HOST:PORT: Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(code=Code.CLUSTER_UNREACHABLE, subject=f"--ray {address}", expected="a Ray cluster",
                        found=error) from None


def cores_per_worker(nodes: Sequence[tuple[int, int]], workers: int) -> int:
    """The most cores that each of `workers` can have on computers of (cores, workers at most); 0 if they do not fit."""
    largest = max((cores for cores, _ in nodes), default=0)
    for cores in range(largest, 0, -1):
        if sum(min(limit, available // cores) for available, limit in nodes) >= workers:
            return cores
    return 0


class _WorkerPool:
    """The workers of a run: which are starting, which are idle, and which case each of the others works on."""

    def __init__(self, ray: _Ray, batch: Batch, make_parts: MakeParts, workers: int | None, gpus: bool,
                 cases: int) -> None:
        self._ray, self._batch, self._make_parts = ray, batch, make_parts
        nodes = [(int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0)))
                 for node in ray.nodes() if node["Alive"]]
        gpus = gpus and any(node_gpus for _, node_gpus in nodes)
        # (cores, workers at most) of each computer: a worker takes a GPU where there are any, else at least a core.
        places = [(cores, node_gpus if gpus else cores) for cores, node_gpus in nodes]
        room = sum(min(cores, limit) for cores, limit in places)
        if (workers or 1) > room:
            unit = "GPU" if gpus else "core"
            raise UserError(code=Code.VALUE_OUT_OF_RANGE, subject="--workers", expected=f"at most {room}, one a {unit}",
                            found=workers or 1)
        default = room if gpus else max(1, room // CORES_PER_WORKER)
        self._count = min(workers or default, cases)
        # No restarts by Ray itself: a case that killed its worker must go back to our queue, and be counted.
        self._actor = ray.remote(num_cpus=cores_per_worker(places, max(self._count, 1)), num_gpus=1 if gpus else 0,
                                 max_restarts=0, max_task_retries=0)(_Worker)
        self._starting: dict[_Reference, _Handle] = {}
        self._idle: list[_Handle] = []
        self._busy: dict[_Reference, tuple[_Handle, _Task]] = {}
        self._failed_starts = 0

    def process_all(self, cases: Sequence[Case], reporter: Reporter) -> Iterator[Outcome]:
        """Outcomes as they come. Raises UserError for what concerns every case, and when no worker starts."""
        queue = deque(_Task(case) for case in cases)
        for _ in range(self._count):
            self._start_worker()
        while queue or self._busy:
            while queue and self._idle:
                worker, task = self._idle.pop(), queue.popleft()
                self._busy[worker.process_case.remote(task.case, task.wait)] = (worker, task)
            (answered, *_), _ = self._ray.wait([*self._busy, *self._starting], num_returns=1)
            if answered in self._starting:
                self._worker_started(answered, reporter)
                continue
            worker, task = self._busy.pop(answered)
            died = False
            try:
                outcome = self._ray.get(answered)
            except self._ray.exceptions.RayTaskError as error:  # its text is a whole coloured traceback
                raise error.cause from error
            except self._ray.exceptions.RayActorError:
                died = True
                reporter.warning(Problem(Code.WORKER_DIED, str(task.case.path),
                                         found="its worker died, perhaps for lack of memory"))
                self._start_worker()
                outcome = self._outcome_after_death(task)
            else:
                self._idle.append(worker)
            if outcome is not None:
                # A worker that died between a result and its answer has segmented the case in this run.
                yield replace(outcome, skipped=outcome.skipped and not task.deaths)
            elif died:
                queue.appendleft(task)
            else:
                queue.append(replace(task, wait=True))  # another run has it: last of all, and then it is waited for

    def _start_worker(self) -> None:
        worker = self._actor.remote(self._make_parts, self._batch)
        self._starting[worker.ready.remote()] = worker

    def _worker_started(self, answered: _Reference, reporter: Reporter) -> None:
        """Makes a worker that answered idle, or starts another one instead of one that failed."""
        worker = self._starting.pop(answered)
        try:
            self._ray.get(answered)
        except self._ray.exceptions.RayActorError as error:
            self._failed_starts += 1
            if self._failed_starts < MAX_START_TRIES:
                self._start_worker()
                return
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = lines[-1] if lines else type(error).__name__  # Ray's text ends with the error itself
            problem = Problem(Code.CLUSTER_UNFIT, "--ray", "workers that start", reason[:300])
            if not (self._busy or self._idle or self._starting):
                raise UserError(problem) from error
            reporter.warning(replace(problem, hint="the others go on"))
        else:
            self._failed_starts = 0
            self._idle.append(worker)

    def _outcome_after_death(self, task: _Task) -> Outcome | None:
        """What becomes of a case whose worker died: None if it is tried again."""
        task.deaths += 1
        if task.deaths < MAX_TRIES:
            return None
        previous = read_record(record_file(self._batch.output, task.case.title))
        problem = Problem(Code.WORKER_DIED, str(task.case.path), found=f"{MAX_TRIES} workers died of it")
        record = Record(task.case.title, str(task.case.path), FAILED, {},
                        replaced=sorted(previous.our_checksums) if previous else [], error=problem.text())
        write_record(self._batch.output, record)
        return Outcome(task.case, record, problem=problem)
