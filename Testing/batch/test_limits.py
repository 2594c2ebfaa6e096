"""Time and memory that a CT may take: one that takes more fails alone, as does one that ends its process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from PartialOrganSegLib.batch.apart import CaseSegmenterApart
from PartialOrganSegLib.batch.options import BatchOptions
from PartialOrganSegLib.errors import UsageError
from PartialOrganSegLib.segmenting.options import SegmentOptions
from Testing.helpers.batch_data import hidden, table
from Testing.helpers.dicom_files import write_slices
from Testing.helpers.moody_network import CRASHES_HU, EATS_HU, ENDLESS_HU, moody_bundle, write_moody_ct
from Testing.helpers.repository import ROOT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
# A quarter of a minute, of which a usual case takes a second, and less memory than the greedy case takes.
LIMITS = ("--time-limit", "0.25", "--memory-limit", "0.9")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return moody_bundle(tmp_path_factory.mktemp("models") / "moody").folder


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "PartialOrganSegLib", "segment", *map(str, words), "--device", "cpu", "--no-preview"]


def segment(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("cluster_options", [(), ("--ray", "local", "--workers", "2")], ids=["here", "cluster"])
def test_cts_that_take_too_much_fail_alone(model, tmp_path, cluster_options):
    if cluster_options:
        pytest.importorskip("ray")
    cts, out = tmp_path / "cts", tmp_path / "out"
    for name, hu in {"a": 60, "crashes": CRASHES_HU, "eats": EATS_HU, "endless": ENDLESS_HU, "z": 61}.items():
        write_moody_ct(cts / f"{name}.nii.gz", hu)
    ended = segment(cts, "-o", out, "--model", model, *LIMITS, *cluster_options)
    assert ended.returncode == 1, ended.stderr
    rows = table(out)
    errors = {name: row["error"] for name, row in rows.items() if row["error"]}
    assert set(errors) == {"crashes", "eats", "endless"}, ended.stderr
    assert "its process died (signal 11)" in errors["crashes"]
    assert "expected at most 0.9 GiB of memory, found more; see --memory-limit" in errors["eats"]
    assert "expected at most 0.25 minutes, found more; see --time-limit" in errors["endless"]
    assert {name: row["state"] for name, row in rows.items() if name in "az"} == {"a": "done", "z": "done"}
    assert 50 < int(rows["a"]["peak_mib"]) < 922  # of the process that did the work
    assert ended.stderr.count("error:") == 3
    assert not hidden(out)
    # What limits allow decides nothing: the others are finished, with or without.
    write_moody_ct(cts / "crashes.nii.gz", 62)
    for name in ("eats", "endless"):
        (cts / f"{name}.nii.gz").unlink()
    again = segment(cts, "-o", out, "--model", model, "--resume")
    assert "1 segmented, 2 finished before, 0 failed" in again.stdout, again.stderr


def test_the_process_of_a_run_that_was_killed_ends_too(model, tmp_path):
    ct = write_moody_ct(tmp_path / "endless.nii.gz", ENDLESS_HU)
    run = subprocess.Popen(command(ct, "-o", tmp_path / "out", "--model", model, "--time-limit", "60"), cwd=ROOT)
    children: list[psutil.Process] = []
    deadline = time.monotonic() + 240
    # The hidden folder of a case's results: the process has begun with it.
    while not list((tmp_path / "out").glob(".partial-*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    children = psutil.Process(run.pid).children(recursive=True)
    assert children
    run.kill()
    run.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


def test_a_cancelled_run_leaves_no_process(model, tmp_path):
    ct = write_moody_ct(tmp_path / "endless.nii.gz", ENDLESS_HU)
    run = subprocess.Popen(command(ct, "-o", tmp_path / "out", "--model", model, "--time-limit", "60"), cwd=ROOT,
                           stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not list((tmp_path / "out").glob(".partial-*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    children = psutil.Process(run.pid).children(recursive=True)
    run.terminate()
    _, text = run.communicate(timeout=60)
    assert run.returncode == 130
    # Where the work was is said as well, once it has said how far it is.
    assert text.splitlines()[-1].startswith("error: cancelled")
    assert not [child for child in children if child.is_running()]
    assert not hidden(tmp_path / "out")


def test_a_device_that_is_not_there_is_said_once_for_all(model, tmp_path):
    for name in "ab":
        write_moody_ct(tmp_path / "cts" / f"{name}.nii.gz")
    words = command(tmp_path / "cts", "-o", tmp_path / "out", "--model", model, "--time-limit", "5")
    words[words.index("cpu")] = "cuda:77"
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert "cuda:77" in line


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_what_pydicom_says_of_headers_is_not_shown_by_the_process_either(model, tmp_path):
    hu = np.full((20, 20, 20), -1000, np.int16)
    hu[2:-2, 2:-2, 2:-2] = 10
    # No component of a UID begins with 0.
    write_slices(tmp_path / "ct", hu, StudyInstanceUID="1.2.03.4")
    words = command(tmp_path / "ct", "-o", tmp_path / "out", "--model", model, "--time-limit", "5", "--dicom", "seg")
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "UserWarning" not in ended.stderr


def test_the_memory_of_the_process_that_works_is_looked_at(model, tmp_path, monkeypatch):
    """As on Windows, where a virtual environment's python.exe only starts the real one and waits for it."""
    starter = tmp_path / "Scripts Jürgen" / "python"
    starter.parent.mkdir()
    starter.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n', encoding="utf-8")
    starter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(starter))
    options = SegmentOptions(model=model, device="cpu")
    segmenter = CaseSegmenterApart(options, BatchOptions(output=tmp_path, memory_limit=1), tmp_path / "log")
    segmenter.prepare()
    try:
        started = [child for child in psutil.Process().children() if str(starter) in child.cmdline()]
        [worker] = started[0].children()
        assert segmenter.process_id() == worker.pid
        assert segmenter._process.memory() > 50 << 20
    finally:
        segmenter.close()
    deadline = time.monotonic() + 60
    while _works(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _works(worker)


def _works(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE  # one that has ended and that nobody has asked about
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("value", ["0", "-1", "much", "nan", "inf"])
def test_limits_are_numbers_above_0(tmp_path, value):
    for name, unit in (("time_limit", "minutes"), ("memory_limit", "GiB")):
        with pytest.raises(UsageError, match=f"{name}: expected a number of {unit} above 0, found '{value}'"):
            BatchOptions(output=tmp_path, **{name: value})
