"""One bad case ends no run: long and odd names, damaged records, names that a screen or a spreadsheet would obey."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from PartialOrganSegLib.batch.records import DONE, Record, read_record, record_file, write_record
from PartialOrganSegLib.cli import main
from Testing.helpers.batch_data import hidden, quick_model, segmented, table, write_ct, write_cts, write_list

needs_posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")


@pytest.fixture(autouse=True)
def model(monkeypatch, tmp_path) -> Path:
    return quick_model(monkeypatch, tmp_path / "model")


def run(*words: object) -> int:
    return main(["segment", *map(str, words), "--no-preview"])


@needs_posix
def test_long_names_work_or_fail_alone(tmp_path, capsys):
    folder, out = tmp_path / "cts", tmp_path / "out"
    write_cts(folder, "az")
    (folder / "cases.csv").unlink()
    # A name may have 255 bytes; with ".labels.nii.gz" behind it the first fits and the second does not.
    fitting, longest = "m" * 235, "n" * 245
    write_ct(folder / f"{fitting}.nii.gz", hu=70)
    write_ct(folder / f"{longest}.nii.gz", hu=71)
    assert run(folder, "-o", out) == 1
    rows = table(out)
    assert {name: row["state"] for name, row in rows.items()} == {
        "a": "done", "z": "done", fitting: "done", longest: "failed"}
    assert "at most 255 bytes, found 259" in rows[longest]["error"]
    assert (out / f"{fitting}.labels.nii.gz").is_file()
    assert not hidden(out)
    assert ".partial" not in capsys.readouterr().err
    assert run(folder, "-o", out, "--resume") == 1
    assert table(out)[fitting]["state"] == "done"


@needs_posix
@pytest.mark.parametrize(("length", "line"), [(240, ""), (246, "at most 255 bytes")])
def test_a_long_name_alone_works_or_is_one_line(length, line, tmp_path, capsys):
    # Of all that may lie in the folder under that name some files have longer endings than the results asked for.
    ct, out = write_ct(tmp_path / f"{'m' * length}.nii.gz", hu=70), tmp_path / "out"
    for _ in range(2):
        code = run(ct, "-o", out, "--overwrite")
        assert code == int(bool(line))
        said = capsys.readouterr().err
        assert line in said
        assert "details:" not in said


@pytest.mark.parametrize("image", ["x" * 5000, "a\0b.nii.gz", "x" * 300 + "/ct.nii.gz"])
def test_an_impossible_path_in_a_csv_fails_alone(tmp_path, image):
    write_cts(tmp_path, "az")
    listed = write_list(tmp_path / "cases.csv", "image", "a.nii.gz", image, "z.nii.gz")
    assert run(listed, "-o", tmp_path / "out") == 1
    states = sorted(row["state"] for row in table(tmp_path / "out").values())
    assert states == ["done", "done", "failed"]


def test_an_impossible_path_among_the_inputs_fails_alone(tmp_path, capsys):
    ct = write_ct(tmp_path / "a.nii.gz")
    assert run(ct, "x" * 5000, write_ct(tmp_path / "z.nii.gz", hu=50), "-o", tmp_path / "out") == 1
    assert set(table(tmp_path / "out")) == {"a", "z"}
    assert "expected a CT file or a folder" in capsys.readouterr().err


@pytest.mark.parametrize("damage", [
    {"outputs": []}, {"outputs": None}, {"outputs": {"a": 3}}, {"replaced": 5}, {"replaced": [None]},
    {"made_from": "x"}, {"seconds": "long"}, {"case": 7}, {"error": None}, {"more": 1}])
def test_a_record_of_wrong_types_is_made_anew(tmp_path, damage):
    cases, out = write_cts(tmp_path / "cts", "ab"), tmp_path / "out"
    assert segmented(cases, "-o", out) == 2
    path = record_file(out, "a")
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | damage), encoding="utf-8")
    assert read_record(path) is None
    assert segmented(cases, "-o", out) == 1
    assert set(table(out)) == {"a", "b"}


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, "{", "3"])
def test_a_record_that_is_none_is_made_anew(tmp_path, content):
    cases, out = write_cts(tmp_path / "cts", "ab"), tmp_path / "out"
    assert segmented(cases, "-o", out) == 2
    record_file(out, "a").write_text(content)
    assert segmented(cases, "-o", out) == 1


@pytest.mark.parametrize("name", ["x" * 240, "m\udcfcller", "ä", "a\0b"])
def test_every_name_has_a_record(tmp_path, name):
    record = Record(name, "ct", DONE, {}, {"x": "y"})
    if name == "m\udcfcller" and os.name == "nt":
        pytest.skip("Windows' names are UTF-16")
    write_record(tmp_path, record)
    assert read_record(record_file(tmp_path, name)) == record
    assert record_file(tmp_path, name) != record_file(tmp_path, name + "x")


@needs_posix
def test_names_are_neither_commands_of_a_terminal_nor_formulas(tmp_path, capsys):
    names = ["\x1b[31mred\x07", "line1\nerror: forged", "=1+1", "@x"]
    for number, name in enumerate(names):
        write_ct(tmp_path / "cts" / f"{name}.nii.gz", hu=40 + number)
    assert run(tmp_path / "cts", "-o", tmp_path / "out") == 0
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert not any(line.startswith("error") for line in (shown.out + shown.err).splitlines())
    # A spreadsheet takes a cell that begins with = or @ for a formula: a quotation mark makes it text.
    assert set(table(tmp_path / "out")) == {"\\x1b[31mred\\x07", "line1\\nerror: forged", "'=1+1", "'@x"}


def test_changed_voxels_in_a_file_that_a_header_names_are_noticed(tmp_path):
    """In another folder than the header's, and under a suffix that usually holds its own voxels."""
    (tmp_path / "voxels").mkdir()
    raw = tmp_path / "voxels" / "x 1.raw"
    raw.write_bytes(bytes(16 * 16 * 16 * 2))
    write_list(tmp_path / "a.nrrd", "NRRD0004", "type: int16", "dimension: 3", "space: left-posterior-superior",
               "sizes: 16 16 16", "space directions: (3,0,0) (0,3,0) (0,0,3)", "endian: little", "encoding: raw",
               "data file: voxels/x 1.raw")
    # A second CT makes it a run over many, which keeps records.
    unchanged = write_ct(tmp_path / "b.nii.gz")
    out = tmp_path / "out"
    assert segmented(tmp_path / "a.nrrd", unchanged, "-o", out, "--force") == 2
    assert segmented(tmp_path / "a.nrrd", unchanged, "-o", out, "--force", "--resume") == 0
    raw.write_bytes(bytes(16 * 16 * 16 * 2 - 2) + b"\x10\x00")
    assert segmented(tmp_path / "a.nrrd", unchanged, "-o", out, "--force", "--resume") == 1
