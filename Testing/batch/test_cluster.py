"""A batch on a local Ray cluster of two workers, one of which is killed: every case is done once and none is lost."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import SimpleITK as sitk
import torch

from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.models.bundle import Preprocessing
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import WORD16
from Testing.helpers import ready_python

NAMES = "abcde"
BUSY = "ray::_Worker.process_case"  # what Ray calls a worker's process while it is at a case


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Random weights and many small windows, so that a case takes a while."""
    torch.manual_seed(0)
    settings = Preprocessing((3.0, 3.0, 3.0), (-200.0, 300.0), 0.0, 100.0, (16, 16, 16))
    licences = {"code": "Apache-2.0", "weights": "none, random", "data": "none"}
    network = build_network("light_unet", 1, WORD16.class_count)
    return write_bundle(tmp_path / "model", network, "light_unet", {}, WORD16, settings, "random", "1", licences, [],
                        {}, "Random weights.").folder


def write_cases(folder: Path) -> Path:
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in NAMES:
        hu = np.full((28, 28, 28), -1000, np.int16)
        hu[4:-4, 4:-4, 4:-4] = generator.integers(-50, 150, (20, 20, 20))
        image = sitk.GetImageFromArray(hu)
        image.SetSpacing((3.0, 3.0, 3.0))
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
    path = folder / "cases.csv"
    path.write_text("image\n" + "".join(f"{name}.nii.gz\n" for name in [*NAMES, "missing"]))
    return path


def command_line(cases: Path, output: Path, model: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "PartialOrganSegLib", "segment", str(cases), "-o", str(output), "--model", str(model),
            "--device", "cpu", "--no-preview", "--json-events", *options]


def descendants(process: psutil.Process) -> Iterator[psutil.Process]:
    try:
        yield from process.children(recursive=True)
    except psutil.NoSuchProcess:
        return


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def addresses(process: psutil.Process) -> set[str]:
    """Where a process and those below it listen or are connected to."""
    reached = set()
    for descendant in descendants(process):
        try:
            for link in descendant.net_connections("inet"):
                reached |= {end.ip for end in (link.laddr, link.raddr) if end}
        except psutil.Error:
            continue
    return reached


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_worker_loses_no_case(tmp_path, model):
    pytest.importorskip("ray")
    cases, out = write_cases(tmp_path / "cts"), tmp_path / "out"
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True,
                "env": {**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}}
    with subprocess.Popen(command_line(cases, out, model, "--ray", "local", "--workers", "2"), **settings) as running:
        driver = psutil.Process(running.pid)
        killed = None
        while running.poll() is None and killed is None:
            finished = len(list(out.glob("*.labels.nii.gz")))
            busy = [worker for worker in descendants(driver) if title(worker).startswith(BUSY)]
            # At a case, and after another was finished: both what is done and what is lost must be right.
            if busy and finished:
                reached = addresses(driver)
                killed = busy[0].pid
                os.kill(killed, signal.SIGKILL)
            # A case takes a few tenths of a second.
            time.sleep(0.02)
        output, errors = running.communicate(timeout=300)
    assert killed is not None, errors
    # Nothing listens where other computers could connect: data of patients stay on this one.
    assert {address.removeprefix("::ffff:") for address in reached} == {"127.0.0.1"}

    events = [json.loads(line) for line in output.splitlines()]
    results = [event for event in events if event["event"] == "result"]
    assert sorted(result["name"] for result in results[:-1]) == sorted(NAMES)
    assert not any(result["skipped"] for result in results[:-1])
    assert results[-1]["segmented"] == len(NAMES)
    assert [Path(failure["input"]).name for failure in results[-1]["failed"]] == ["missing.nii.gz"]
    assert running.returncode == 1
    assert any("its worker died" in event["message"] for event in events if event["event"] == "warning")
    with open(out / "run_table.csv", encoding="utf-8", newline="") as stream:
        states = {row["case"]: row["state"] for row in csv.DictReader(stream)}
    assert states == dict.fromkeys(NAMES, "done") | {"missing": "failed"}
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]

    # One process for both: into the same folder and into an empty one.
    words = [command_line(cases, folder, model)[3:] for folder in (out, tmp_path / "serial")]
    code = f"from PartialOrganSegLib.cli import main\nfor words in {words!r}: main(words)"
    serial = subprocess.run([ready_python.program(), "-c", code], check=False, **settings)
    events = [json.loads(line) for line in serial.stdout.splitlines()]
    again, anew = (event for event in events if "skipped" in event and "segmented" in event)
    assert (again["segmented"], again["skipped"]) == (0, len(NAMES))  # settings, model and CTs are the same for both
    assert (anew["segmented"], anew["skipped"]) == (len(NAMES), 0)
    for name in NAMES:
        expected = read_labelmap(tmp_path / "serial" / f"{name}.labels.nii.gz").array
        assert expected.any()
        np.testing.assert_array_equal(read_labelmap(out / f"{name}.labels.nii.gz").array, expected)


def test_an_unreachable_cluster_is_reported_in_one_line(tmp_path, model):
    pytest.importorskip("ray")
    words = command_line(write_cases(tmp_path / "cts"), tmp_path / "out", model, "--ray", "127.0.0.1:1")
    completed = subprocess.run(words, capture_output=True, text=True, check=False)
    assert completed.returncode == 1
    events = [json.loads(line) for line in completed.stdout.splitlines()]
    assert [event["event"] for event in events] == ["started", "error"]
    assert events[1]["message"].startswith("--ray 127.0.0.1:1: expected a Ray cluster, found ")
