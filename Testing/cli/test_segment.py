"""What a user of `partialorganseg segment` relies on, with a predictor that labels soft tissue as liver in no time."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.predictor import Prediction
from Testing.helpers.repository import ROOT

KINDS = (".labels.nii.gz", ".preview.png", ".seg.nrrd", ".volumes.csv")


class SoftTissueIsLiver:
    """Stands in for the predictor; counts how often one was built."""

    built = 0

    def __init__(self, bundle, device="auto", mirror=False, scales=(1.0,), precision="auto", combine="mean") -> None:
        type(self).built += 1
        self.bundle = bundle

    def predict(self, ct, organs=None, reporter=None):
        print("a library talks")
        # Past Python's stdout, as libraries in C++ print.
        os.write(1, b"a C++ library talks\n")
        # A CT of 13 slices stands for one that something unforeseen happens with.
        if ct.array.shape[0] == 13:
            raise RuntimeError("unlucky\nnumber")
        labels = ((ct.array > 0) & (ct.array < 200)).astype(np.uint8)
        reporter.progress("segment", 1, 1)
        return Prediction(labels=Volume(labels, ct.grid), entropy={"liver": 0.1})


def write_model(folder: Path) -> Path:
    """The checksums of a model that takes no time."""
    checksums = folder / "model" / "configs" / "checksums.json"
    checksums.parent.mkdir(parents=True, exist_ok=True)
    checksums.write_text("{}")
    return folder / "model"


@pytest.fixture(autouse=True)
def light_predictor(monkeypatch, tmp_path):
    monkeypatch.setattr("PartialOrganSegLib.segmenting.predictor.Predictor", SoftTissueIsLiver)
    monkeypatch.setattr("PartialOrganSegLib.models.bundle.load_bundle",
                        lambda name: SimpleNamespace(name=name, label_space=WORD16, folder=write_model(tmp_path),
                                                     folds=()))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    SoftTissueIsLiver.built = 0


def write_ct(path: Path, slices: int = 20) -> Path:
    hu = np.full((slices, 24, 24), -1000, np.int16)
    hu[4:-4, 4:-4, 4:-4] = 60
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((2.0, 2.0, 2.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def names(folder: Path) -> list[str]:
    """What lies there, but for the records of a run over several CTs."""
    return sorted(path.name for path in folder.iterdir() if path.name not in ("records", "run_table.csv"))


def events(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_ct_gives_all_its_files_on_its_grid(tmp_path, capsys):
    ct = write_ct(tmp_path / "mein büro" / "scan 1.nii.gz")
    out = tmp_path / "neue Ergebnisse" / "deep"
    assert main(["segment", str(ct), "-o", str(out)]) == 0
    assert names(out) == [f"scan 1{kind}" for kind in KINDS]
    assert sitk.ReadImage(str(out / "scan 1.labels.nii.gz")).GetSize() == (24, 24, 20)
    with open(out / "scan 1.volumes.csv", encoding="utf-8", newline="") as stream:
        liver = next(row for row in csv.DictReader(stream) if row["organ"] == "liver")
    assert float(liver["volume_ml"]) == pytest.approx(12 * 16 * 16 * 10 / 1000, rel=1e-3)
    shown = capsys.readouterr().out
    assert "liver" in shown
    assert str(out / "scan 1.seg.nrrd") in shown


def test_failing_cases_do_not_stop_the_others(tmp_path, capsys):
    good = [write_ct(tmp_path / f"{name}.nii.gz") for name in "ac"]
    unlucky = write_ct(tmp_path / "b.nii.gz", slices=13)
    text = tmp_path / "text.nii.gz"
    text.write_text("not an image")
    missing = tmp_path / "missing.nrrd"
    out = tmp_path / "out"
    assert main(["segment", *map(str, (good[0], unlucky, text, missing, good[1])), "-o", str(out)]) == 1
    # Loading a network takes seconds: once for all CTs.
    assert SoftTissueIsLiver.built == 1
    captured = capsys.readouterr()
    assert "2 segmented, 0 finished before, 3 failed" in captured.out
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
    for path in (unlucky, text, missing):
        assert any(str(path) in line for line in errors)
    log = out / "partialorganseg.log"
    assert str(log) in next(line for line in errors if "unlucky number" in line)
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert names(out) == sorted([f"{name}{kind}" for name in "ac" for kind in KINDS] + [log.name])


def test_folder_of_cts_and_earlier_results_in_it(tmp_path):
    for name in "ab":
        write_ct(tmp_path / f"{name}.nii.gz")
    assert main(["segment", str(tmp_path), "-o", str(tmp_path)]) == 0
    # The first run's label maps lie beside the CTs and are not segmented in turn.
    assert main(["segment", str(tmp_path), "-o", str(tmp_path / "again")]) == 0
    assert names(tmp_path / "again") == [f"{name}{kind}" for name in "ab" for kind in KINDS]


def test_two_cts_of_one_name_are_kept_apart_and_reported(tmp_path, capsys):
    paths = [write_ct(tmp_path / part) for part in ("first/CT.nii.gz", "second/ct.mha", "second/ct.nrrd")]
    out = tmp_path / "out"
    assert main(["segment", *map(str, paths), "-o", str(out), "--no-preview"]) == 0
    labelmaps = [name for name in names(out) if name.endswith(".labels.nii.gz")]
    assert labelmaps == ["first_CT.labels.nii.gz", "second_ct.labels.nii.gz", "second_ct_2.labels.nii.gz"]
    assert capsys.readouterr().err.count("another CT has the same name") == 3


def test_earlier_results_are_kept_unless_asked(tmp_path, capsys):
    ct = write_ct(tmp_path / "scan.nii.gz")
    out = tmp_path / "out"
    out.mkdir()
    corrected = out / "scan.seg.nrrd"
    corrected.write_text("corrected by hand")
    assert main(["segment", str(ct), "-o", str(out)]) == 1
    assert corrected.read_text() == "corrected by hand"
    assert "--overwrite" in capsys.readouterr().err
    assert main(["segment", str(ct), "-o", str(out), "--overwrite"]) == 0
    assert corrected.read_bytes().startswith(b"NRRD")


def test_organs_are_chosen_by_name(tmp_path, capsys):
    ct = write_ct(tmp_path / "scan.nii.gz")
    assert main(["segment", str(ct), "-o", str(tmp_path / "out"), "--organs", "Spleen, liver"]) == 0
    with open(tmp_path / "out" / "scan.volumes.csv", encoding="utf-8", newline="") as stream:
        assert [row["organ"] for row in csv.DictReader(stream)] == ["liver", "spleen"]
    capsys.readouterr()
    assert main(["segment", str(ct), "-o", str(tmp_path / "other"), "--organs", "livr"]) == 1
    assert "did you mean 'liver'?" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_output_folder_that_is_a_file(tmp_path, capsys):
    ct = write_ct(tmp_path / "scan.nii.gz")
    file = tmp_path / "taken"
    file.write_text("mine")
    assert main(["segment", str(ct), "-o", str(file)]) == 1
    assert capsys.readouterr().err.splitlines() == [f"error: {file}: expected a folder that can be written, "
                                                    "found a file"]
    assert file.read_text() == "mine"


def test_full_disk_while_writing_leaves_nothing(tmp_path, monkeypatch, capsys):
    def full(path, *_):
        path.write_bytes(b"half")
        raise UserError(f"{path}: could not be written: the disk is full")

    ct = write_ct(tmp_path / "scan.nii.gz")
    out = tmp_path / "out"
    monkeypatch.setattr("PartialOrganSegLib.formats.writing.write_segmentation", full)
    assert main(["segment", str(ct), "-o", str(out)]) == 1
    assert f"error: {out / 'scan.seg.nrrd'}: could not be written: the disk is full" in capsys.readouterr().err
    assert names(out) == ["partialorganseg.log"]


def test_result_that_a_program_has_open_leaves_the_others_as_they_were(tmp_path, monkeypatch, capsys):
    """As Windows refuses to replace or to move a file that Excel has open."""
    replace = os.replace

    def replace_unless_open(source, target):
        if out / "scan.volumes.csv" in (Path(source), Path(target)):
            raise PermissionError(13, "in use")
        replace(source, target)

    ct, out = write_ct(tmp_path / "scan.nii.gz"), tmp_path / "out"
    assert main(["segment", str(ct), "-o", str(out)]) == 0
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    write_ct(ct, slices=30)
    with monkeypatch.context() as patched:
        patched.setattr("PartialOrganSegLib.outputs.os.replace", replace_unless_open)
        assert main(["segment", str(ct), "-o", str(out), "--overwrite"]) == 1
    assert "in use" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    assert names(out) == sorted([*(path.name for path in before), "partialorganseg.log"])


def test_json_events_are_all_that_stdout_holds(tmp_path, capfd):
    paths = [write_ct(tmp_path / "ä.nii.gz"), write_ct(tmp_path / "b.nii.gz", slices=13)]
    assert main(["segment", *map(str, paths), "-o", str(tmp_path / "out"), "--json-events"]) == 1
    captured = capfd.readouterr()
    reported = events(captured.out)
    kinds = [event["event"] for event in reported if event["event"] != "progress"]
    assert kinds == ["started", "result", "error", "result"]
    first = next(event for event in reported if event["event"] == "result")
    assert Path(first["files"]["labelmap"]).is_file()
    assert [Path(failure["input"]) for failure in reported[-1]["failed"]] == [paths[1]]
    assert "a C++ library talks" in captured.err


def test_cancelling_between_the_renames_of_a_case_waits_for_all_of_them(tmp_path, monkeypatch):
    replace = os.replace

    def replace_and_cancel(source, target):
        replace(source, target)
        if Path(target) == tmp_path / "out" / "a.labels.nii.gz":
            signal.raise_signal(signal.SIGINT)

    paths = [write_ct(tmp_path / f"{name}.nii.gz") for name in "ab"]
    monkeypatch.setattr("PartialOrganSegLib.outputs.os.replace", replace_and_cancel)
    assert main(["segment", *map(str, paths), "-o", str(tmp_path / "out")]) == 130
    assert names(tmp_path / "out") == [f"a{kind}" for kind in KINDS]


CANCELLED = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
sys.path[:0] = [{root!r}]
import Testing.helpers.batch_data as stand_ins
import PartialOrganSegLib.segmenting.predictor as predictor, PartialOrganSegLib.models.bundle as bundle
import PartialOrganSegLib.formats.preview as preview
from PartialOrganSegLib.cli import main

def slow_preview(path, *_):
    path.write_bytes(b"half")
    if path.name.startswith("b"):
        print("writing b", flush=True)
        time.sleep(60)

predictor.Predictor = stand_ins.SoftTissueIsLiver
bundle.load_bundle = lambda name: SimpleNamespace(name=name, label_space=stand_ins.WORD16, folder=Path({model!r}),
                                                  folds=())
preview.write_preview = slow_preview
sys.exit(main())
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_cancelling_keeps_finished_cases_and_leaves_no_half_written_one(tmp_path, number):
    paths = [write_ct(tmp_path / f"{name}.nii.gz") for name in "abc"]
    out = tmp_path / "out"
    code = CANCELLED.format(root=str(ROOT), model=str(write_model(tmp_path)))
    process = subprocess.Popen([sys.executable, "-c", code, "segment", *map(str, paths), "-o", str(out)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line == "writing b\n":
            break
    process.send_signal(number)
    # The second signal comes while the first is being answered.
    time.sleep(0.05)
    process.send_signal(number)  # an impatient user
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "error: cancelled (cases: 1 of 3)"
    assert names(out) == [f"a{kind}" for kind in KINDS]


def test_events_say_what_kind_of_problem_it_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The panel reads the codes and parts of errors."""
    grey = tmp_path / "grey.nii.gz"
    # Grey values from 0 to 249, which is no CT.
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(20**3, dtype=np.uint8).reshape(20, 20, 20) % 250), str(grey))
    assert main(["segment", str(grey), "-o", str(tmp_path / "out"), "--json-events"]) == 1
    error = next(event for event in map(json.loads, capfd.readouterr().out.splitlines()) if event["event"] == "error")
    assert (error["code"], error["subject"], error["expected"]) == ("not-a-ct", str(grey), "a CT in HU")
    assert error["hint"] == "--force segments it anyway"
    assert error["message"] == f"{grey}: expected a CT in HU, found {error['found']}; --force segments it anyway"


def test_a_result_event_has_the_checks_as_text_and_as_data(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", str(write_ct(tmp_path / "a.nii.gz")), "-o", str(tmp_path / "out"), "--json-events"]) == 0
    result = next(event for event in map(json.loads, capfd.readouterr().out.splitlines()) if "organs" in event
                  and event["event"] == "result")
    spleen = next(row for row in result["organs"] if row["organ"] == "spleen")
    assert spleen["checks"] == "not found"
    assert spleen["checks_data"] == [{"kind": "not_found", "organ": "spleen", "value": None, "low": None, "high": None,
                                      "detail": "", "text": "not found"}]
    with open(tmp_path / "out" / "a.volumes.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["organ", "volume_ml", "components", "checks", "entropy"]
    assert rows[1]["checks"] == "not found"
