"""`segment` over many CTs by several processes at a time, and killed in the middle of one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from PartialOrganSegLib.batch.locks import case_lock
from PartialOrganSegLib.batch.records import FAILED, Record, write_record
from PartialOrganSegLib.batch.run_table import write_run_table
from PartialOrganSegLib.events import Reporter
from Testing.helpers.batch_data import hidden, quick_model, segmented, table, write_cts
from Testing.helpers.repository import ROOT


@pytest.fixture(autouse=True)
def model(monkeypatch, tmp_path) -> Path:
    return quick_model(monkeypatch, tmp_path / "model")


KILLED = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, {root!r})
import Testing.helpers.batch_data as here
import PartialOrganSegLib.segmenting.predictor as predictor, PartialOrganSegLib.models.bundle as bundle
from PartialOrganSegLib.cli import main

replace, count = os.replace, 0

def replace_and_die(source, target):
    global count
    replace(source, target)
    # The table is moved into place too, but is no file of a case.
    count += Path(target).parent.name == "out" and Path(target).name != "run_table.csv"
    if count == {renames}:
        os.kill(os.getpid(), signal.SIGKILL)

os.replace = replace_and_die
predictor.Predictor = here.SoftTissueIsLiver
bundle.load_bundle = lambda name: SimpleNamespace(name=name, label_space=here.WORD16, folder=Path({model!r}), folds=())
sys.exit(main())
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize("renames", [1, 4])
def test_what_was_killed_between_the_renames_of_a_case_is_finished(tmp_path, model, renames):
    """With 3 files a case, the first rename ends within case a, the fourth within case b; older results are there.

    Its files are all written and its record too, so the others only have to be moved.
    """
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    segmented(cases, "-o", out)
    write_cts(tmp_path / "cts", slices=22)
    code = KILLED.format(root=str(ROOT), model=str(model.parent.parent), renames=renames)
    words = ["segment", str(cases), "-o", str(out), "--no-preview"]
    killed = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert hidden(out)
    assert segmented(cases, "-o", out) == (2 if renames == 1 else 1)
    assert not hidden(out)
    assert segmented(cases, "-o", out) == 0


# Several processes

def test_a_case_in_other_hands_comes_last_and_is_then_finished(tmp_path):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    lock, held, release = out / "records" / "a.lock", threading.Event(), threading.Event()

    def another_run() -> None:
        with case_lock(lock, wait=False) as mine:
            assert mine
            held.set()
            release.wait()

    thread = threading.Thread(target=another_run)
    thread.start()
    held.wait()
    order: list[str] = []

    class Order(Reporter):
        def result(self, **facts) -> None:
            order.append(facts.get("name", ""))
            # Only when all others are done is the case in other hands waited for.
            if order == ["b", "c"]:
                release.set()

    from PartialOrganSegLib.cli import build_parser, segment

    try:
        words = ["segment", str(cases), "-o", str(out), "--no-preview"]
        assert segment.run(build_parser().parse_args(words), Order()) == 0
    finally:
        release.set()
        thread.join()
    assert order == ["b", "c", "a", ""]


def test_where_nothing_can_be_locked_nobody_is_alone(tmp_path, monkeypatch):
    """What looks left over may be what a twin is writing."""
    def no_locks(handle) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    cases, out = write_cts(tmp_path / "cts", "a"), tmp_path / "out"
    twin, leftover = out / ".partial-a-twin", out / ".partial-a-left"
    (twin / "new").mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setattr("PartialOrganSegLib.batch.locks.lock", no_locks)
        assert segmented(cases, "-o", out) == 1
    assert twin.is_dir()
    # With locks that work, what nobody holds is cleared away.
    twin.rename(leftover)
    assert segmented(cases, "-o", out, "--organs", "liver") == 1
    assert not leftover.exists()


def test_locks_are_exclusive(tmp_path):
    inside, highest, together = [0], [0], threading.Lock()

    def work() -> None:
        for _ in range(5):
            with case_lock(tmp_path / "x.lock", wait=True):
                with together:
                    inside[0] += 1
                    highest[0] = max(highest[0], inside[0])
                # So that another thread would come in, if the lock let it.
                time.sleep(0.001)
                with together:
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert highest == [1]


def test_run_table_written_while_records_appear_has_them_all(tmp_path):
    """Each writer records its cases and then writes the table, as shards that end at the same time do."""
    def shard(number: int) -> None:
        for case in range(5):
            write_record(tmp_path, Record(f"{number}-{case}", "ct", FAILED, {}, error="x"))
        write_run_table(tmp_path)

    threads = [threading.Thread(target=shard, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(table(tmp_path)) == 20
