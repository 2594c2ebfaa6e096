"""One CT into a folder has a record as one of many has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from PartialOrganSegLib.batch.records import DONE, read_record, record_file
from PartialOrganSegLib.cli import main
from Testing.helpers.batch_data import quick_model, segmented, write_ct

FILES = ["a.labels.nii.gz", "a.seg.nrrd", "a.volumes.csv"]


@pytest.fixture(autouse=True)
def model(monkeypatch, tmp_path) -> Path:
    return quick_model(monkeypatch, tmp_path / "model")


def test_it_has_a_record_but_no_table(tmp_path, capsys):
    ct, out = write_ct(tmp_path / "a.nii.gz"), tmp_path / "out"
    assert segmented(ct, "-o", out) == 1
    record = read_record(record_file(out, "a"))
    assert record is not None
    assert (record.state, sorted(record.outputs)) == (DONE, FILES)
    # A table of one line would only be in the way.
    assert not (out / "run_table.csv").exists()
    assert "liver" in capsys.readouterr().out
    assert main(["segment", str(ct), "-o", str(out), "--no-preview"]) == 1
    assert "found an earlier result" in capsys.readouterr().err
    assert segmented(ct, "-o", out, "--resume") == 0
    assert (out / "run_table.csv").is_file()
    assert segmented(write_ct(tmp_path / "b.nii.gz"), "-o", out) == 1  # from now on the table is kept true
    assert "b," in (out / "run_table.csv").read_text(encoding="utf-8")


def test_what_failed_is_recorded_and_tried_again(tmp_path):
    ct, out = tmp_path / "a.nii.gz", tmp_path / "out"
    ct.write_text("no image")
    assert main(["segment", str(ct), "-o", str(out)]) == 1
    assert json.loads(record_file(out, "a").read_text(encoding="utf-8"))["state"] == "failed"
    write_ct(ct)
    assert segmented(ct, "-o", out) == 1
