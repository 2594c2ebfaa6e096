"""`segment -o FILE` writes that one file of one CT."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib import logfile
from PartialOrganSegLib.cli import main
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from Testing.helpers.batch_data import UNLUCKY, quick_model, write_ct, write_list
from Testing.helpers.dicom_files import write_slices


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return quick_model(monkeypatch, tmp_path / "model")


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return write_ct(tmp_path / "cts" / "scan.nii.gz")


@pytest.mark.parametrize("name", ["organs.nii.gz", "organs.nrrd"])
def test_a_label_map(ct: Path, tmp_path: Path, name: str, capsys) -> None:
    out = tmp_path / "new folder" / name
    assert main(["segment", str(ct), "-o", str(out)]) == 0
    assert [path.name for path in out.parent.iterdir()] == [name]
    assert read_labelmap(out).grid.same_as(read_ct(ct).grid)
    shown = capsys.readouterr().out
    assert "liver" in shown
    assert str(out) in shown


def test_a_segmentation_of_slicer(ct: Path, tmp_path: Path) -> None:
    assert main(["segment", str(ct), "-o", str(tmp_path / "organs.seg.nrrd")]) == 0
    assert b"Segment0_ID:=liver" in (tmp_path / "organs.seg.nrrd").read_bytes()


def test_a_file_in_the_current_folder(ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["segment", str(ct.parent), "-o", "organs.nii.gz"]) == 0
    assert (tmp_path / "organs.nii.gz").is_file()


def test_events_name_the_file(ct: Path, tmp_path: Path, capfd) -> None:
    assert main(["segment", str(ct), "-o", str(tmp_path / "organs.nii.gz"), "--json-events"]) == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    result = next(event for event in events if event["event"] == "result")
    assert result["files"] == {"labelmap": str(tmp_path / "organs.nii.gz")}
    assert events[-1]["segmented"] == 1


def test_an_earlier_file_is_kept_unless_asked(ct: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "organs.nii.gz"
    out.write_text("mine")
    assert main(["segment", str(ct), "-o", str(out)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main(["segment", str(ct), "-o", str(out), "--overwrite"]) == 0
    assert read_labelmap(out).array.any()


def test_the_ct_itself_is_never_written_over(ct: Path, capsys) -> None:
    before = ct.read_bytes()
    assert main(["segment", str(ct), "-o", str(ct), "--overwrite"]) == 1
    assert "expected another file than the CT's" in capsys.readouterr().err
    assert ct.read_bytes() == before


def test_several_cts_are_refused_with_one_line(ct: Path, tmp_path: Path, capsys) -> None:
    second = write_ct(tmp_path / "cts" / "other.nii.gz")
    out = tmp_path / "organs.nii.gz"
    for inputs in ([ct, second], [ct.parent], [ct, tmp_path / "missing.nii.gz"]):
        assert main(["segment", *map(str, inputs), "-o", str(out)]) == 2
        assert capsys.readouterr().err.splitlines() == [
            f"error: {out}: expected a folder for 2 CTs, found the name of one file"]
    assert not out.exists()


@pytest.mark.parametrize("options", [["--resume"], ["--shard", "1/2"], ["--ray", "local"], ["--dicom", "seg"]])
def test_options_that_need_a_folder_are_refused(ct: Path, tmp_path: Path, options: list[str], capsys) -> None:
    assert main(["segment", str(ct), "-o", str(tmp_path / "organs.nii.gz"), *options]) == 2
    assert f"{options[0]}: expected a folder as output, found the file" in capsys.readouterr().err


def test_an_unknown_ending_is_refused(ct: Path, tmp_path: Path, capsys) -> None:
    assert main(["segment", str(ct), "-o", str(tmp_path / "organs.tiff")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "expected a folder or a file ending in .nii.gz, .nrrd, .seg.nrrd or .dcm, found '.tiff'" in line
    # With a slash at its end it is a folder, whatever it is called.
    assert main(["segment", str(ct), "-o", str(tmp_path / "results.tiff") + "/"]) == 0
    assert (tmp_path / "results.tiff" / "scan.labels.nii.gz").is_file()


def test_a_list_of_one_ct_gives_one_file(ct: Path, tmp_path: Path) -> None:
    cases = write_list(tmp_path / "cases.csv", "image", "cts/scan.nii.gz")
    assert main(["segment", str(cases), "-o", str(tmp_path / "out" / "organs.nii.gz")]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["organs.nii.gz"]


def test_a_ct_that_is_no_dicom_is_refused_for_dicom(ct: Path, tmp_path: Path, capsys) -> None:
    assert main(["segment", str(ct), "-o", str(tmp_path / "organs.dcm")]) == 1
    assert "found no DICOM file" in capsys.readouterr().err
    assert not (tmp_path / "organs.dcm").exists()


def test_dicom_of_dicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from PartialOrganSegLib.models.bundle import load_bundle

    quick = load_bundle("any")
    monkeypatch.setattr("PartialOrganSegLib.models.bundle.load_bundle", lambda name: SimpleNamespace(
        **vars(quick), metadata=SimpleNamespace(version="1")))
    array = np.full((12, 24, 24), -1000, np.int16)
    array[3:-3, 6:-6, 6:-6] = 60
    folder = write_slices(tmp_path / "series", array)
    assert main(["segment", str(folder), "-o", str(tmp_path / "organs.rtstruct.dcm")]) == 0
    from pydicom import dcmread

    assert dcmread(tmp_path / "organs.rtstruct.dcm").Modality == "RTSTRUCT"


def test_what_goes_wrong_leaves_its_traceback_in_the_users_log(tmp_path: Path, capsys) -> None:
    ct = write_ct(tmp_path / "ct.nii.gz", slices=UNLUCKY)
    assert main(["segment", str(ct), "-o", str(tmp_path / "out" / "organs.nii.gz")]) == 1
    assert f"unlucky number; details: {logfile.user_log()}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
