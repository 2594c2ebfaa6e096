"""Works off the cases of a batch with Ray: on this computer or on a running cluster.

Every worker is a process that loads the model once. When one dies, by a crash, for memory or with its computer, its
case goes back to the queue and a new worker takes its place; the records see to it that a case that was finished in the
last moment is not done again. Output folder, CTs and model must be there by the same paths on every computer.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psutil

from ..errors import Code, Problem, UserError
from ..events import Reporter
from .cases import Case
from .records import FAILED, Record, read_record, record_file, write_record
from .work import Batch, Explain, Outcome, Segment, attend

if TYPE_CHECKING:
    from ray.actor import ActorHandle

Parts = Callable[[], tuple[Batch, Segment, Explain]]

LOCAL = "local"
CORES_A_WORKER = 4  # beyond that a window of the light networks hardly gets faster
TRIES = 3  # a case that kills its worker so often is to blame itself
START_TRIES = 3


class _Warnings(Reporter):
    """Keeps the warnings for whoever asked for the case."""

    def __init__(self) -> None:
        self.kept: list[str | Problem] = []

    def warning(self, message: str | Problem) -> None:
        self.kept.append(message)


class _Worker:
    """Lives in a process of its own, with one predictor."""

    def __init__(self, parts: Parts, batch: Batch) -> None:
        mine, self._segment, self._explain = parts()
        self._batch = batch
        if mine.model != batch.model:
            raise UserError(code=Code.CLUSTER_UNFIT, expected="the same model on every computer",
                            found="one with another checksum")
        self._segment.prepare()

    def ready(self) -> None:
        """Returns once the process is there."""

    def attend(self, case: Case, wait: bool) -> Outcome | None:
        reporter = _Warnings()
        outcome = attend(case, self._batch, self._segment, self._explain, reporter, wait)
        return outcome and replace(outcome, warnings=reporter.kept)


@dataclass
class _Task:
    case: Case
    wait: bool = False
    deaths: int = 0


def attend_all(cases: Sequence[Case], batch: Batch, parts: Parts, address: str, workers: int | None,
               gpus: bool, reporter: Reporter) -> Iterator[Outcome]:
    """Outcomes as they come; `parts()` makes in a worker's process what it works with.

    `workers` of them, each with a GPU if the cluster has any and `gpus` may be used. Raises UserError without Ray,
    without the cluster, for more workers than it has room for, and when none can start.
    """
    cases = [replace(case, path=case.path.absolute()) for case in cases]
    ray = _connect(address, workers)
    try:
        yield from _Crew(ray, batch, parts, workers, gpus, len(cases)).work_off(cases, reporter)
    finally:
        ray.shutdown()


def _connect(address: str, workers: int | None) -> Any:
    """Ray, initialised. It reports nothing to its makers, and on this computer alone nobody else can reach it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address == LOCAL:  # read when Ray is imported; makes 127.0.0.1 its address, on Linux as well
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
    except ImportError:
        raise UserError(code=Code.PACKAGE_MISSING, subject="--ray", expected="the package ray",
                        found="none",
                        hint="pip install 'ray>=2.52'") from None
    _knock(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "critical"}
    found = ""
    for _ in range(START_TRIES):  # a busy computer is too slow for the limits that Ray's own processes set each other
        before = set(psutil.Process().children(recursive=True))
        try:
            if address == LOCAL:
                ray.init(num_cpus=max(os.cpu_count() or 1, workers or 1), include_dashboard=False, **quiet)
            else:
                ray.init(address=address, **quiet)
            return ray
        except Exception as error:  # Ray raises ConnectionError, ValueError, RuntimeError and bare Exception
            found = " ".join(str(error).split())[:300]
            ray.shutdown()
            for left in set(psutil.Process().children(recursive=True)) - before:
                with contextlib.suppress(psutil.Error):
                    left.kill()
        if address != LOCAL:
            break
    raise UserError(code=Code.CLUSTER_UNREACHABLE, subject=f"--ray {address}", expected="a Ray cluster", found=found)


def _knock(address: str) -> None:
    """Raises UserError when nobody answers at HOST:PORT: Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(code=Code.CLUSTER_UNREACHABLE, subject=f"--ray {address}", expected="a Ray cluster",
                        found=error) from None


def cores_each(nodes: Sequence[tuple[int, int]], workers: int) -> int:
    """The most cores that each of `workers` can have on computers of (cores, workers at most); 0 if they do not fit."""
    fitting = (cores for cores in range(max((cores for cores, _ in nodes), default=0), 0, -1)
               if sum(min(most, has // cores) for has, most in nodes) >= workers)
    return next(fitting, 0)


class _Crew:
    """The workers of a run and what they are at."""

    def __init__(self, ray: Any, batch: Batch, parts: Parts, workers: int | None, gpus: bool, cases: int) -> None:
        self._ray, self._batch, self._parts = ray, batch, parts
        nodes = [(int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0)))
                 for node in ray.nodes() if node["Alive"]]
        gpus = gpus and any(of_node for _, of_node in nodes)
        places = [(cores, of_node if gpus else cores) for cores, of_node in nodes]
        room = sum(min(cores, most) for cores, most in places)
        if (workers or 1) > room:
            unit = "GPU" if gpus else "core"
            raise UserError(code=Code.VALUE_OUT_OF_RANGE, subject="--workers", expected=f"at most {room}, one a {unit}",
                            found=workers or 1)
        usual = room if gpus else max(1, room // CORES_A_WORKER)
        self._count = min(workers or usual, cases)
        self._actor = ray.remote(num_cpus=cores_each(places, max(self._count, 1)), num_gpus=1 if gpus else 0,
                                 max_restarts=0, max_task_retries=0)(_Worker)
        self._starting: dict[Any, ActorHandle] = {}
        self._idle: list[ActorHandle] = []
        self._busy: dict[Any, tuple[ActorHandle, _Task]] = {}
        self._failed_starts = 0

    def work_off(self, cases: Sequence[Case], reporter: Reporter) -> Iterator[Outcome]:
        queue = deque(_Task(case) for case in cases)
        for _ in range(self._count):
            self._start()
        while queue or self._busy:
            while queue and self._idle:
                worker, task = self._idle.pop(), queue.popleft()
                self._busy[worker.attend.remote(task.case, task.wait)] = (worker, task)
            (answered, *_), _ = self._ray.wait([*self._busy, *self._starting], num_returns=1)
            if answered in self._starting:
                self._started(answered, reporter)
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
                self._start()
                outcome = self._bereaved(task)
            else:
                self._idle.append(worker)
            if outcome is not None:
                # A worker that died between a result and its answer has segmented the case in this run.
                yield replace(outcome, skipped=outcome.skipped and not task.deaths)
            elif died:
                queue.appendleft(task)
            else:
                queue.append(replace(task, wait=True))  # another run has it: last of all, and then for sure

    def _start(self) -> None:
        worker = self._actor.remote(self._parts, self._batch)
        self._starting[worker.ready.remote()] = worker

    def _started(self, answered: Any, reporter: Reporter) -> None:
        worker = self._starting.pop(answered)
        try:
            self._ray.get(answered)
        except self._ray.exceptions.RayActorError as error:
            self._failed_starts += 1
            if self._failed_starts < START_TRIES:
                self._start()
                return
            said = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
            problem = Problem(Code.CLUSTER_UNFIT, "--ray", "workers that start", said.strip()[:300])
            if not (self._busy or self._idle or self._starting):
                raise UserError(problem) from error
            reporter.warning(replace(problem, hint="the others go on"))
        else:
            self._failed_starts = 0
            self._idle.append(worker)

    def _bereaved(self, task: _Task) -> Outcome | None:
        """What becomes of a case whose worker died: None if it is tried again."""
        task.deaths += 1
        if task.deaths < TRIES:
            return None
        before = read_record(record_file(self._batch.output, task.case.title))
        problem = Problem(Code.WORKER_DIED, str(task.case.path), found=f"{TRIES} workers died of it")
        record = Record(task.case.title, str(task.case.path), FAILED, {},
                        replaced=sorted(before.ours if before else ()), error=problem.text())
        write_record(self._batch.output, record)
        return Outcome(task.case, record, problem=problem)
