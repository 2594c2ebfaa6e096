"""One CT into a folder has a record as one of many has: a run that was killed at any moment is simply run again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from PartialOrganSegLib.batch.records import DONE, read_record, record_file
from PartialOrganSegLib.cli import main
from Testing.helpers.batch_data import hidden, quick_model, segmented, write_ct
from Testing.helpers.repository import ROOT

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


KILLED = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, {root!r})
import Testing.helpers.batch_data as here
import PartialOrganSegLib.segmenting.predictor as predictor, PartialOrganSegLib.models.bundle as bundle
from PartialOrganSegLib.cli import main

count = 0

def die(event, arguments):
    global count
    if event in ("os.rename", "os.link", "os.mkdir", "os.remove") and "out{moment}" in str(arguments[0]):
        count += 1
        if count == {moment}:
            os.kill(os.getpid(), signal.SIGKILL)

predictor.Predictor = here.SoftTissueIsLiver
bundle.load_bundle = lambda name: SimpleNamespace(name=name, label_space=here.WORD16, folder=Path({model!r}))
sys.addaudithook(die)
sys.exit(main())
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize("again", [False, True])
def test_killed_at_every_change_of_the_output_folder_it_is_simply_run_again(tmp_path, model, again):
    """At every file that is made, moved or removed; with `again` over earlier results of another CT."""
    moment, ends = 0, set()
    while -9 in ends or not ends:
        moment += 1
        out = tmp_path / f"out{moment}"
        ct = write_ct(tmp_path / "a.nii.gz")
        words = ["segment", str(ct), "-o", str(out), "--no-preview"]
        if again:
            assert segmented(*words[1:4]) == 1
            earlier = contents(out)
            write_ct(ct, slices=22)
            words.append("--overwrite")
        code = KILLED.format(root=str(ROOT), model=str(model.parent.parent), moment=moment)
        killed = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        ends = {killed.returncode}
        assert ends <= {0, -9}, killed.stderr
        if again:  # each file is the old one or the new one, never none
            assert set(contents(out)) == set(earlier)
        code_again = main(words)
        finished = read_record(record_file(out, "a"))
        assert finished is not None
        assert finished.finished(finished.made_from, [out / name for name in FILES])
        # Either it was made (anew), or all had appeared before the kill.
        assert code_again == 0 or (not again and killed.returncode == 0) or all((out / name).exists() for name in FILES)
        assert not hidden(out)
    assert moment > 8


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("a.*")}
