"""`segment` over many CTs, several at a time: what comes of them is what comes of one after the other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from PartialOrganSegLib.batch.locks import case_lock
from PartialOrganSegLib.segmenting.cores import usable_cores
from Testing.helpers.batch_data import hidden, table
from Testing.helpers.moody_network import (
    CRASHES_HU,
    CRASHES_ONCE_HU,
    ENDLESS_HU,
    ONCE,
    moody_bundle,
    write_moody_ct,
)
from Testing.helpers.repository import ROOT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
TOLD = "2 CTs at a time, each in a process of its own (--workers 1: one after the other)"
WAIT_S = 240


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return moody_bundle(tmp_path_factory.mktemp("models") / "moody").folder


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "PartialOrganSegLib", "segment", *map(str, words), "--device", "cpu", "--no-preview"]


def segment(*words: object, **environment: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=ROOT, capture_output=True, text=True, check=False,
                          env={**os.environ, **{name: str(value) for name, value in environment.items()}})


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def results(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name.endswith((".nii.gz", ".nrrd", ".csv"))
            and path.name != "run_table.csv"}


def test_labels_records_and_exit_code_are_those_of_one_process(model, tmp_path):
    cts = tmp_path / "CTs für alle"
    for number, name in enumerate("abcd"):
        write_moody_ct(cts / f"{name}.nii.gz", 60 + number)
    (cts / "broken.nii.gz").write_text("no image")
    write_moody_ct(cts / "crashes.nii.gz", CRASHES_HU)
    ended = segment(cts, "-o", tmp_path / "two", "--model", model, "--workers", "2")
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[0] == TOLD
    assert "4 segmented, 0 finished before, 2 failed" in ended.stdout
    # Crashing once more when it was alone is not worth another line.
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 2
    assert "its process died (signal 11)" in errors[1]
    (cts / "crashes.nii.gz").unlink()
    one = segment(cts, "-o", tmp_path / "one", "--model", model, "--workers", "1")
    assert TOLD not in one.stdout
    assert results(tmp_path / "two") == results(tmp_path / "one")
    rows = table(tmp_path / "two")
    assert {name: row["state"] for name, row in rows.items()} == dict.fromkeys("abcd", "done") | dict.fromkeys(
        ("broken", "crashes"), "failed")
    assert all(int(rows[name]["peak_mib"]) > 50 and float(rows[name]["seconds"]) > 0 for name in "abcd")
    assert not hidden(tmp_path / "two")
    # Finished by two processes is finished.
    (cts / "broken.nii.gz").unlink()
    again = segment(cts, "-o", tmp_path / "two", "--model", model, "--resume")
    assert "0 segmented, 4 finished before, 0 failed" in again.stdout


def test_a_case_whose_process_died_beside_others_is_tried_once_more_alone(model, tmp_path):
    cts = tmp_path / "cts"
    for name, hu in {"a": 60, "b": CRASHES_ONCE_HU, "c": 61}.items():
        write_moody_ct(cts / f"{name}.nii.gz", hu)
    ended = segment(cts, "-o", tmp_path / "out", "--model", model, "--workers", "2", **{ONCE: tmp_path / "once"})
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "once").exists()
    assert [line.split()[1] for line in ended.stdout.splitlines()[1:4]] == ["a:", "c:", "b:"]
    assert "error:" not in ended.stderr
    assert table(tmp_path / "out")["b"]["state"] == "done"
    assert "signal 11" in (tmp_path / "out" / "partialorganseg.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_run_works_on_two_and_leaves_neither(model, tmp_path, number):
    cts, out = tmp_path / "cts", tmp_path / "out"
    for name in "abcd":
        write_moody_ct(cts / f"{name}.nii.gz", ENDLESS_HU)
    run = subprocess.Popen(command(cts, "-o", out, "--model", model, "--workers", "2"), cwd=ROOT, text=True,
                           stderr=subprocess.PIPE, start_new_session=True)
    until(lambda: len(list(out.glob(".partial-*"))) == 2)
    children = psutil.Process(run.pid).children(recursive=True)
    assert len(children) == 2
    os.killpg(run.pid, number)  # as a terminal does: to the run and its processes alike
    _, text = run.communicate(timeout=60)
    assert run.returncode == 130
    assert text.splitlines()[-1] == "error: cancelled (cases: 0 of 4)"
    assert "Traceback" not in text
    assert not [child for child in children if child.is_running()]
    assert not hidden(out)
    # Nothing failed: who resumes is told of no error.
    assert table(out) == {}


def test_processes_of_a_run_that_was_killed_end_too(model, tmp_path):
    cts, out = tmp_path / "cts", tmp_path / "out"
    for name in "ab":
        write_moody_ct(cts / f"{name}.nii.gz", ENDLESS_HU)
    run = subprocess.Popen(command(cts, "-o", out, "--model", model, "--workers", "2"), cwd=ROOT)
    until(lambda: len(list(out.glob(".partial-*"))) == 2)
    children = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    run.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


def test_a_case_in_other_hands_comes_last_and_is_waited_for(model, tmp_path):
    cts, out = tmp_path / "cts", tmp_path / "out"
    for name in "abc":
        write_moody_ct(cts / f"{name}.nii.gz")
    with case_lock(out / "records" / "a.lock", wait=False) as mine:
        assert mine
        run = subprocess.Popen(command(cts, "-o", out, "--model", model, "--workers", "2"), cwd=ROOT, text=True,
                               stdout=subprocess.PIPE)
        until(lambda: (out / "b.volumes.csv").exists() and (out / "c.volumes.csv").exists())
        assert run.poll() is None
    text, _ = run.communicate(timeout=WAIT_S)
    assert run.returncode == 0
    assert [line.split()[1] for line in text.splitlines()[1:4]][-1] == "a:"


@pytest.mark.skipif(usable_cores() < 2, reason="one core")
def test_programs_are_told_how_many_cts_are_done_and_nobody_has_to_ask_for_two_processes(model, tmp_path):
    cts = tmp_path / "cts"
    for name in "abcd":
        write_moody_ct(cts / f"{name}.nii.gz")
    ended = segment(cts, "-o", tmp_path / "out", "--model", model, "--json-events", OMP_NUM_THREADS=2)
    events = list(map(json.loads, ended.stdout.splitlines()))
    progress = [event for event in events if event["event"] == "progress"]
    assert {(event["stage"], event["total"]) for event in progress} == {("cases", 4)}
    done = [event["done"] for event in progress]
    assert (done[0], done[-1]) == (0, 4)
    assert done == sorted(done)
    assert sorted(event["name"] for event in events if event["event"] == "result" and "name" in event) == list("abcd")
    assert TOLD in ended.stderr


def test_what_concerns_every_case_is_told_once(model, tmp_path):
    for name in "abcd":
        write_moody_ct(tmp_path / "cts" / f"{name}.nii.gz")
    words = command(tmp_path / "cts", "-o", tmp_path / "out", "--model", model, "--workers", "2")
    words[words.index("cpu")] = "cuda:77"
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert "cuda:77" in line
