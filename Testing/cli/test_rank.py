"""`partialorganseg rank`: the table, what is refused, and a CT that fails beside one that does not."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.formats.writing import write_ct
from PartialOrganSegLib.synthesis.phantom import make_phantom


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A CT and a file that is none."""
    volume, _ = make_phantom((20, 20, 20), (8.0, 8.0, 8.0))
    write_ct(tmp_path / "scan.nii.gz", volume)
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    return tmp_path


def test_a_table_of_all_cts_the_most_worthwhile_first(folder: Path, capsys: pytest.CaptureFixture) -> None:
    table = folder / "next.csv"
    command = ["rank", str(folder / "scan.nii.gz"), str(folder / "broken.nii.gz"), "-o", str(table), "--device", "cpu"]
    assert main(command) == 1  # of one CT there is nothing to say
    captured = capsys.readouterr()
    assert "broken.nii.gz" in captured.err
    assert len(captured.err.strip().splitlines()[-1]) < 300
    with open(table, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["ct", "organ", "slice", "z_mm", "worth", "checks"]
    assert {row["ct"] for row in rows} == {"scan"}
    worths = [float(row["worth"]) for row in rows]
    assert worths == sorted(worths, reverse=True)
    assert all(0 <= int(row["slice"]) < 20 for row in rows)
    assert main(command) == 1
    assert "next.csv" in capsys.readouterr().err  # an earlier table is not replaced


def test_no_organ_is_a_table_without_rows(folder: Path, monkeypatch: pytest.MonkeyPatch,
                                          capfd: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("PartialOrganSegLib.refining.ranking.rank_organs", lambda *_arguments: [])
    table = folder / "next.csv"
    table.write_text("ct,organ\nold,liver\n")
    command = ["rank", str(folder / "scan.nii.gz"), "-o", str(table), "--overwrite", "--device", "cpu"]
    assert main(command) == 0
    assert table.read_text().splitlines() == ["ct,organ,slice,z_mm,worth,checks"]
    assert capfd.readouterr().out == f"no organs of 1 CTs, 0 failed; {table}\n"
    assert main([*command, "--json-events"]) == 0
    *_, result = (json.loads(line) for line in capfd.readouterr().out.splitlines())
    assert (result["event"], result["rows"], result["table"]) == ("result", [], str(table))


def test_a_table_that_is_no_csv_is_refused_before_the_work(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["rank", str(folder / "scan.nii.gz"), "-o", str(folder / "next.txt"), "--device", "cpu"]) == 2
    assert ".csv" in capsys.readouterr().err


def test_where_no_ct_can_be_ranked_nothing_is_written(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """A table of nothing was in the way of the next try, as "an earlier result"."""
    (folder / "leer ä").mkdir()
    table = folder / "next.csv"
    for nothing in ("leer ä", "broken.nii.gz"):
        assert main(["rank", str(folder / nothing), "-o", str(table), "--device", "cpu"]) == 1
        captured = capsys.readouterr()
        assert captured.out == "no CT could be ranked, 1 failed; nothing was written\n"
        assert nothing in captured.err
        assert not table.exists()
    table.write_text("ct,organ\nold,liver\n")
    assert main(["rank", str(folder / "broken.nii.gz"), "-o", str(table), "--overwrite", "--device", "cpu"]) == 1
    assert table.read_text() == "ct,organ\nold,liver\n"


def test_a_folder_called_like_a_table_is_refused_before_the_work(folder: Path, monkeypatch: pytest.MonkeyPatch,
                                                                 capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("PartialOrganSegLib.batch.cases.expand", lambda *_arguments: pytest.fail("it worked"))
    (folder / "next.csv").mkdir()
    assert main(["rank", str(folder / "scan.nii.gz"), "-o", str(folder / "next.csv"), "--overwrite"]) == 1
    assert "next.csv: expected the name of a file to write, found a folder" in capsys.readouterr().err
