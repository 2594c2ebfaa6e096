"""How many processes a run over many CTs has: as many as repay, have a core and fit into the memory, or as was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from PartialOrganSegLib.batch import beside, workers
from PartialOrganSegLib.batch.apart import CaseSegmenterApart
from PartialOrganSegLib.batch.beside import Cases
from PartialOrganSegLib.batch.cases import Case
from PartialOrganSegLib.batch.messages import Ready
from PartialOrganSegLib.batch.options import BatchOptions
from PartialOrganSegLib.batch.processing import Batch
from PartialOrganSegLib.batch.records import DONE, FAILED, Record, write_record
from PartialOrganSegLib.batch.workers import Plan, plan, processes_that_fit
from PartialOrganSegLib.errors import Code, Problem, UserError
from PartialOrganSegLib.events import CollectedWarnings, Reporter
from PartialOrganSegLib.segmenting.cores import Threads
from PartialOrganSegLib.segmenting.options import SegmentOptions

GIB = 1 << 30
CASES = [Case(Path(f"{name}.nii.gz"), name) for name in "abcdefghij"]


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A computer with so many free ones; receives the limits that it is asked for."""
    limits: list[int] = []

    def choose(load: object, limit: int) -> Threads:
        limits.append(limit)
        return Threads(min(8, limit), min(8, limit))

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(workers, "choose_threads", choose)
    monkeypatch.setattr(workers.psutil, "cpu_count", lambda logical: 8)
    return limits


def planned(output: Path, count: int, device: str = "cpu", resume: bool = False, overwrite: bool = False,
            **options: object) -> Plan:
    batch = Batch(output, "model", {"fast": False}, True, overwrite, resume)
    return plan(CASES[:count], batch, BatchOptions(output=output, resume=resume, **options), device)


@pytest.mark.parametrize(("count", "options", "expected"), [
    (1, {}, 1), (3, {}, 1), (4, {}, 4), (8, {}, 8),
    (10, {}, 5),                         # in two rounds, as of eight processes, of which six would idle in the second
    (10, {"device": "auto"}, 5), (10, {"device": "cuda:0"}, 1), (10, {"device": "mps"}, 1),
    (10, {"shard": "1/2"}, 1),           # the others are processes too
    (10, {"time_limit": 3}, 1),          # was chosen for a CT that has all cores
    (10, {"memory_limit": 3}, 5),
    (10, {"workers": 1}, 1), (10, {"workers": 3}, 3), (2, {"workers": 3}, 2), (1, {"workers": 3}, 1),
    (10, {"workers": 3, "device": "cuda", "shard": "1/2", "time_limit": 3}, 3)])
def test_as_many_as_repay_or_as_was_said(eight_cores, tmp_path, count, options, expected):
    assert planned(tmp_path, count, **options).processes == expected


@pytest.mark.parametrize(("text", "limit"), [("3", 3), ("0", 1), ("many", 8), ("", 8)])
def test_no_more_threads_than_the_user_allows(eight_cores, monkeypatch, tmp_path, text, limit):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert planned(tmp_path, 10).cores == limit
    assert eight_cores == [limit]


def test_finished_cases_need_no_process(eight_cores, tmp_path):
    made_from = {"ct": "x", "series": None, "model": "model", "settings": {"fast": False}}
    for number, case in enumerate(CASES):
        others = {"model": "another"} if number == 0 else {}
        state = FAILED if number == 1 else DONE
        write_record(tmp_path, Record(case.title, "ct", state, made_from | others))
    assert planned(tmp_path, 10, resume=True).processes == 1
    assert planned(tmp_path, 10, resume=True, workers=8) == Plan(2, 2, 8)
    # Without --resume what has results is refused.
    assert planned(tmp_path, 10).to_do == 10
    for case in CASES[:8]:
        (tmp_path / f"{case.name}.labels.nii.gz").touch()
    assert planned(tmp_path, 10).processes == 1
    assert planned(tmp_path, 10, workers=8).to_do == 2
    assert planned(tmp_path, 10, overwrite=True).to_do == 10


@pytest.mark.parametrize(("free", "device", "workers_", "expected"), [
    (20, "cpu", None, 5), (7, "cpu", None, 2), (9, "cpu", None, 3), (1, "cpu", None, 1),
    (20, "cuda", None, 1), (1, "cuda", 5, 5)])
def test_as_many_as_fit_into_the_memory(monkeypatch, tmp_path, free, device, workers_, expected):
    monkeypatch.setattr(workers, "free_memory", lambda: free * GIB)
    options = BatchOptions(output=tmp_path, workers=workers_)
    assert processes_that_fit(Plan(5, 10, 8), options, Ready(1, device, 3 * GIB)) == expected


def test_cores_are_shared_and_the_last_cases_get_more():
    work = Cases(CASES[:4], processes=3, cores=8)
    assert [work.begin() for _ in range(3)] == [(case, 3) for case in CASES[:3]]
    work.end()
    work.end()
    assert work.begin() == (CASES[3], 4)  # one is still at work
    assert work.begin() is None
    work = Cases(CASES[:1], processes=3, cores=8)
    assert work.begin() == (CASES[0], 8)
    work = Cases(CASES, processes=9, cores=2)
    assert work.begin() == (CASES[0], 1)
    assert work.take_all() == CASES[1:]
    assert work.begin() is None


# Processes that do not start

class NeverStarts(CaseSegmenterApart):
    """As one whose process dies while it starts, at once."""

    def prepare(self) -> None:
        raise UserError(code=Code.WORKER_DIED, found="the process for cases died (signal 9)")


class Segments(CaseSegmenterApart):
    """As one that segments at once."""

    def prepare(self) -> None:
        pass

    def __call__(self, case, folder, reporter, on_files_written=None):
        reporter.warning(Problem(Code.SETTING_SLOW, "model", found="slow"))
        reporter.warning(f"{case.name} is small")
        on_files_written({}, [])
        return []


def run(output: Path, kinds: str, alone: type[CaseSegmenterApart], reporter: Reporter) -> list:
    """Over four cases; "s" segments, "n" never starts."""
    for case in CASES[:4]:
        (output / case.path).write_text(case.name)
    cases = [Case(output / case.path, case.name) for case in CASES[:4]]
    made = [{"s": Segments, "n": NeverStarts}[kind](SegmentOptions(), BatchOptions(output=output), output / "log")
            for kind in kinds]
    rest = alone(SegmentOptions(), BatchOptions(output=output), output / "log")
    return list(beside.process_all(cases, Batch(output, "model", {}, True, False), made, rest, _explain, 2,
                                   {Code.WORKER_DIED}, reporter))


def _explain(error: Exception, case: Case) -> Problem:
    return Problem(Code.INTERNAL, str(case.path), found=str(error))


def test_where_a_process_does_not_start_the_others_go_on(tmp_path):
    reporter = CollectedWarnings()
    outcomes = run(tmp_path, "ns", Segments, reporter)
    assert sorted(outcome.case.name for outcome in outcomes) == list("abcd")
    assert {outcome.record.state for outcome in outcomes} == {DONE}
    # What comes last has a reporter of its own, as in a run of one process.
    [warning] = [warning for warning in reporter.warnings if "process for cases died" in str(warning)]
    assert isinstance(warning, Problem)
    assert warning.hint == "the others go on"


def test_where_none_starts_the_run_ends(tmp_path):
    with pytest.raises(UserError, match="the process for cases died"):
        run(tmp_path, "nn", NeverStarts, Reporter())


def test_each_case_has_its_warnings_and_all_have_one_of_the_model(tmp_path):
    outcomes = run(tmp_path, "ss", Segments, Reporter())
    texts = [[str(getattr(warning, "code", warning)) for warning in outcome.warnings] for outcome in outcomes]
    assert texts[0] == [str(Code.SETTING_SLOW), f"{outcomes[0].case.name} is small"]
    assert texts[1:] == [[f"{outcome.case.name} is small"] for outcome in outcomes[1:]]
