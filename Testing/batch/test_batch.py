"""What a user of `segment` over many CTs relies on: finished by content, never lost, with a table."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from PartialOrganSegLib.batch.run_table import COLUMNS
from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from Testing.helpers.batch_data import (
    UNLUCKY,
    SoftTissueIsLiver,
    hidden,
    quick_model,
    segmented,
    table,
    write_ct,
    write_cts,
    write_list,
)

KINDS = (".labels.nii.gz", ".preview.png", ".seg.nrrd", ".volumes.csv")


@pytest.fixture(autouse=True)
def model(monkeypatch, tmp_path) -> Path:
    return quick_model(monkeypatch, tmp_path / "model")


# Finished by content

def test_second_run_skips_what_is_finished(tmp_path, capsys):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    assert segmented(cases, "-o", out) == 3
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.name != "run_table.csv"}
    capsys.readouterr()
    assert segmented(cases, "-o", out) == 0
    assert "0 segmented, 3 finished before, 0 failed" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    row = table(out)["a"]
    assert tuple(row) == COLUMNS
    assert Path(row["input"]) == tmp_path / "cts" / "a.nii.gz"
    assert float(row["seconds"]) > 0
    assert int(row["peak_mib"]) > 50
    assert "spleen: not found" in row["checks"]
    assert not hidden(out)


def test_moved_and_touched_cts_are_still_finished(tmp_path):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    segmented(cases, "-o", out)
    moved = (tmp_path / "cts").rename(tmp_path / "elsewhere")
    os.utime(moved / "a.nii.gz")
    assert segmented(moved / "cases.csv", "-o", out) == 0


def test_changed_ct_of_the_same_size_and_time_is_made_anew(tmp_path):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    ct = tmp_path / "cts" / "a.nii"
    # Without compression, so that other voxels make no other size.
    write_list(cases, "image", "a.nii", "b.nii.gz")
    write_ct(ct, hu=50)
    assert segmented(cases, "-o", out) == 2
    stamp, size = ct.stat(), ct.stat().st_size
    write_ct(ct, hu=51)
    os.utime(ct, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert ct.stat().st_size == size
    assert segmented(cases, "-o", out) == 1


def test_changed_model_or_setting_is_made_anew(tmp_path, model):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    assert segmented(cases, "-o", out) == 3
    assert segmented(cases, "-o", out, "--device", "cpu") == 0  # has no say in the result
    assert segmented(cases, "-o", out, "--organs", "spleen,liver") == 3
    assert segmented(cases, "-o", out, "--organs", "liver, spleen") == 0
    assert segmented(cases, "-o", out, "--organs", "liver,spleen", "--scales", "1,0.75") == 3
    model.write_text('{"weights": "others"}')
    assert segmented(cases, "-o", out, "--organs", "liver,spleen", "--scales", "1,0.75") == 3


def test_result_that_lacks_a_file_is_made_anew(tmp_path):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    segmented(cases, "-o", out)
    (out / "b.seg.nrrd").unlink()
    (out / "records" / "c.json").write_text('{"case": "c", "sta')
    assert segmented(cases, "-o", out) == 2
    assert main(["segment", str(cases), "-o", str(out)]) == 0  # now with previews
    assert sorted(path.name for path in out.glob("b.*")) == [f"b{kind}" for kind in KINDS]


def test_half_or_corrected_result_neither_counts_nor_is_lost(tmp_path, capsys):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    segmented(cases, "-o", out)
    (out / "b.labels.nii.gz").write_bytes((out / "b.labels.nii.gz").read_bytes()[:-20])
    (out / "c.seg.nrrd").write_text("corrected by hand")
    capsys.readouterr()
    assert main(["segment", str(cases), "-o", str(out), "--no-preview"]) == 1
    errors = capsys.readouterr().err
    assert errors.count("changed since it was written; --overwrite replaces it") == 2
    assert (out / "c.seg.nrrd").read_text() == "corrected by hand"
    assert table(out)["b"]["state"] == table(out)["c"]["state"] == "failed"
    assert segmented(cases, "-o", out, "--overwrite") == 2
    assert segmented(cases, "-o", out, "--overwrite") == 0


def test_result_changed_after_a_record_that_cannot_be_read_is_kept(tmp_path):
    cases, out = write_cts(tmp_path / "cts", "a"), tmp_path / "out"
    segmented(cases, "-o", out)
    record, result = out / "records" / "a.json", out / "a.seg.nrrd"
    record.write_text("damaged")
    result.write_text("corrected by hand")
    # A second younger than its record: it was changed after it was written.
    os.utime(result, ns=(0, record.stat().st_mtime_ns + 1_000_000_000))
    assert main(["segment", str(cases), "-o", str(out), "--no-preview"]) == 1
    assert result.read_text() == "corrected by hand"


def test_files_of_kinds_that_are_no_longer_made_go_unless_changed(tmp_path, model):
    cases, out = write_cts(tmp_path / "cts", "ab"), tmp_path / "out"
    assert main(["segment", str(cases), "-o", str(out)]) == 0
    (out / "b.preview.png").write_text("mine")
    model.write_text('{"weights": "others"}')
    assert segmented(cases, "-o", out) == 2
    assert [path.name for path in out.glob("*.preview.png")] == ["b.preview.png"]


# Without --resume

def test_plain_run_over_many_can_be_resumed(tmp_path, capsys):
    write_cts(tmp_path / "cts")
    out, words = tmp_path / "out", [tmp_path / "cts", "-o", tmp_path / "out"]
    assert segmented(*words) == 3
    assert main(["segment", *map(str, words), "--no-preview"]) == 1
    assert capsys.readouterr().err.count("found an earlier result; --resume keeps what is finished") == 3
    write_ct(tmp_path / "cts" / "b.nii.gz", hu=99)
    assert segmented(*words, "--resume") == 1
    assert segmented(*words, "--overwrite") == 3
    # One case alone with other organs, in the folder of the many.
    assert segmented(tmp_path / "cts" / "b.nii.gz", "-o", out, "--overwrite", "--organs", "liver") == 1
    assert segmented(*words, "--resume") == 1  # the record of b says that it is of other organs


def test_results_without_a_record_are_not_replaced(tmp_path, capsys):
    ct, out = write_ct(tmp_path / "a.nii.gz"), tmp_path / "out"
    assert main(["segment", str(ct), "-o", str(out), "--no-preview"]) == 0
    shutil.rmtree(out / "records")
    assert main(["segment", str(ct), "-o", str(out), "--no-preview", "--resume"]) == 1
    assert "a result that is not recorded" in capsys.readouterr().err


def test_failing_case_stops_no_other_and_is_tried_again(tmp_path, capsys):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    write_ct(tmp_path / "cts" / "b.nii.gz", slices=UNLUCKY)
    assert main(["segment", str(cases), "-o", str(out), "--no-preview"]) == 1
    assert "2 segmented, 0 finished before, 1 failed" in capsys.readouterr().out
    assert {name: row["state"] for name, row in table(out).items()} == {"a": "done", "b": "failed", "c": "done"}
    assert "unlucky number" in table(out)["b"]["error"]
    assert "Traceback" in (out / "partialorganseg.log").read_text(encoding="utf-8")
    write_ct(tmp_path / "cts" / "b.nii.gz")
    assert segmented(cases, "-o", out) == 1
    assert table(out)["b"]["error"] == ""


def test_what_concerns_every_case_is_told_once(tmp_path, monkeypatch, capsys):
    def absent(*_, **__):
        raise UserError("'cuda' is not among the devices")

    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    assert segmented(cases, "-o", out, "--shard", "1/3") == 1
    monkeypatch.setattr("PartialOrganSegLib.segmenting.predictor.Predictor", absent)
    assert main(["segment", str(cases), "-o", str(out), "--no-preview"]) == 1
    assert capsys.readouterr().err.splitlines() == ["error: 'cuda' is not among the devices"]
    assert {name: row["state"] for name, row in table(out).items()} == {"a": "done"}
    assert segmented(cases, "-o", out, "--shard", "1/3") == 0  # all finished: nothing is loaded


def test_two_shards_make_one_table(tmp_path):
    cases = write_cts(tmp_path / "cts", "abcde")
    write_list(cases, *cases.read_text().split(), "missing.nii.gz")
    out = tmp_path / "out"
    assert main(["segment", str(cases), "-o", str(out), "--shard", "2/2"]) == 1
    assert set(table(out)) == {"b", "d", "missing"}
    assert main(["segment", str(cases), "-o", str(out), "--shard", "1/2"]) == 0
    rows = table(out)
    assert {name: row["state"] for name, row in rows.items()} == dict.fromkeys("abcde", "done") | {"missing": "failed"}
    assert "found nothing there" in rows["missing"]["error"]
    assert SoftTissueIsLiver.segmented == 5


def test_json_events_tell_of_every_case(tmp_path, capfd):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    assert main(["segment", str(cases), "-o", str(out), "--json-events"]) == 0
    results = [event for event in map(json.loads, capfd.readouterr().out.splitlines()) if event["event"] == "result"]
    assert [result.get("name") for result in results] == ["a", "b", "c", None]
    assert Path(results[0]["files"]["labelmap"]).is_file()
    assert results[0]["organs"][0]["organ"] == "liver"
    assert Path(results[-1]["table"]) == out / "run_table.csv"
