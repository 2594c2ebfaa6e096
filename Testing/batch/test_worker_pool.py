"""How the cases are shared out among workers, without Ray: what a case takes, and what happens when workers die."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.batch.cases import Case
from PartialOrganSegLib.batch.cluster import _WorkerPool, cores_per_worker
from PartialOrganSegLib.batch.processing import Batch, Outcome
from PartialOrganSegLib.batch.records import DONE, Record
from PartialOrganSegLib.batch.run_table import write_run_table
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from Testing.helpers.batch_data import quick_model, table
from Testing.helpers.repository import ROOT


@pytest.fixture(autouse=True)
def model(monkeypatch, tmp_path) -> Path:
    return quick_model(monkeypatch, tmp_path / "model")


# Measuring, sharing out

MEASURE = """
import time
import numpy as np
from PartialOrganSegLib.batch.measuring import measuring
with measuring() as before:
    pass
with measuring() as figures:
    # Written to, or the system would not give the pages.
    block = np.ones(60 << 20, np.uint8)
    time.sleep(0.2)
    del block
print(figures.peak_mib - before.peak_mib, figures.seconds)
"""


def test_peak_memory_is_of_the_block():
    """In a process of its own: in this one, memory of other tests may be given back meanwhile."""
    completed = subprocess.run([sys.executable, "-c", MEASURE], cwd=ROOT, stdout=subprocess.PIPE,
                          text=True, check=True)
    grown, seconds = completed.stdout.split()
    assert int(grown) >= 50
    assert float(seconds) >= 0.2


@given(st.lists(st.tuples(st.integers(1, 16), st.integers(1, 16)), min_size=1, max_size=4), st.integers(1, 20))
def test_cores_per_worker_fit_and_no_more_would(nodes, workers):
    def fit(cores: int) -> int:
        return sum(min(limit, available // cores) for available, limit in nodes)

    cores = cores_per_worker(nodes, workers)
    assert cores == 0 or fit(cores) >= workers
    assert fit(cores + 1) < workers


# Without Ray: what the pool of workers does when workers die

class Died(Exception):
    """Stands for Ray's error of a dead worker."""


class Raised(Exception):
    """Stands for Ray's error of a worker's exception."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("a whole coloured traceback")
        self.cause = cause


class InstantRay:
    """Stands in for Ray: a call is done when it is waited for; the oldest call is waited for first.

    `deadly` cases kill their worker, `elsewhere` ones do so once and are then somebody else's until they may be waited
    for, `wrong` ones raise; of the workers only the first `starts` start.
    """

    exceptions = SimpleNamespace(RayActorError=Died, RayTaskError=Raised)

    def __init__(self, deadly: str = "", elsewhere: str = "", wrong: str = "", starts: int = 99) -> None:
        self.deadly, self.elsewhere, self.wrong, self.starts, self.begun = deadly, elsewhere, wrong, starts, 0
        self.cases_asked_for: list[str] = []

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 2.0}}]

    def remote(self, **_):
        return lambda worker: SimpleNamespace(remote=self._new)

    def _new(self, *_):
        self.begun += 1
        number = self.begun
        return SimpleNamespace(ready=SimpleNamespace(remote=lambda: (number, False)),
                               process_case=SimpleNamespace(remote=lambda case, wait: (case, wait)))

    def wait(self, references, num_returns):
        return references[-1:], references[:-1]

    def get(self, reference):
        task, wait = reference
        if isinstance(task, int):
            if task > self.starts:
                raise Died("the actor died\nUserError: no such device\n")
            return None
        self.cases_asked_for.append(task.name)
        if task.name in self.deadly or (task.name in self.elsewhere and task.name not in self.cases_asked_for[:-1]):
            raise Died
        if task.name in self.wrong:
            raise Raised(UserError("the disk is full"))
        if task.name in self.elsewhere and not wait:
            return None
        return Outcome(task, Record(task.title, str(task.path), DONE, {}))


def worker_pool(ray: InstantRay, output: Path, workers: int | None = 2) -> _WorkerPool:
    return _WorkerPool(ray, Batch(output, "", {}, False, False), None, workers, False, len(CASES))


CASES = [Case(Path(name), name) for name in "abcd"]


def test_case_that_kills_its_workers_fails_in_the_end(tmp_path):
    ray = InstantRay(deadly="b")
    outcomes = list(worker_pool(ray, tmp_path).process_all(CASES, Reporter()))
    assert sorted(outcome.case.name for outcome in outcomes) == ["a", "b", "c", "d"]
    assert [outcome.record.error for outcome in outcomes if outcome.record.error] == ["b: 3 workers died of it"]
    # Two to begin with, and one for each that died.
    assert ray.begun == 2 + 3
    assert write_run_table(tmp_path)
    assert table(tmp_path)["b"]["state"] == "failed"


def test_case_that_another_run_took_when_its_worker_died_comes_last(tmp_path):
    ray = InstantRay(elsewhere="a")
    outcomes = list(worker_pool(ray, tmp_path, workers=1).process_all(CASES, Reporter()))
    assert [outcome.case.name for outcome in outcomes] == ["b", "c", "d", "a"]
    assert ray.cases_asked_for == ["a", "a", "b", "c", "d", "a"]


def test_what_concerns_every_case_is_no_traceback(tmp_path):
    with pytest.raises(UserError, match=r"^the disk is full$"):
        list(worker_pool(InstantRay(wrong="a"), tmp_path).process_all(CASES, Reporter()))


def test_workers_that_never_start_are_reported(tmp_path):
    with pytest.raises(UserError, match="expected workers that start, found UserError: no such device"):
        list(worker_pool(InstantRay(starts=0), tmp_path).process_all(CASES, Reporter()))


def test_workers_that_start_do_without_the_others(tmp_path):
    warnings: list[str] = []
    reporter = Reporter()
    reporter.warning = lambda message: warnings.append(str(message))
    outcomes = list(worker_pool(InstantRay(starts=1), tmp_path).process_all(CASES, reporter))
    assert sorted(outcome.case.name for outcome in outcomes) == ["a", "b", "c", "d"]
    assert [message.rpartition("; ")[2] for message in warnings] == ["the others go on"]


def test_more_workers_than_there_is_room_for(tmp_path):
    with pytest.raises(UserError, match="expected at most 2, one a core, found 3"):
        worker_pool(InstantRay(), tmp_path, workers=3)
