"""Paths that nobody foresees: one line that names the path, and never a wait for a pipe that nobody writes to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from PartialOrganSegLib import logfile
from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.serving.token import default_token_file
from Testing.helpers.training_data import write_case, write_manifest, write_yaml

LONG = "x" * 5000


@pytest.fixture
def label(tmp_path: Path) -> str:
    return str(tmp_path / write_case(tmp_path, "a", 0)["label"])


@pytest.mark.parametrize("words", [
    ["check", LONG], ["check", "a/" * 3000], ["evaluate", LONG, "LABEL", "-o", "ev"],
    ["evaluate", "LABEL", LONG, "-o", "ev"], ["evaluate", "/dev/null", "LABEL", "-o", "ev"],
    ["evaluate", "LABEL", "LABEL", "--images", "/dev/zero", "-o", "ev"], ["models", "info", LONG],
    ["models", "verify", LONG], ["train", "~nobody-of-this-name/r.yaml", "-o", "run"],
    ["train", "RECIPE", "--set", "start_from=~nobody-of-this-name/model", "-o", "run"]])
def test_a_path_that_cannot_be_is_one_line(words: list[str], label: str, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = write_yaml(tmp_path / "r.yaml", {"manifest": "m.yaml"})
    given = {"LABEL": label, "RECIPE": str(recipe)}
    assert main([given.get(word, word) for word in words]) in (1, 2)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ")
    assert "details:" not in said
    assert "Error" not in said


@pytest.mark.skipif(os.name == "nt", reason="pipes have no names there")
@pytest.mark.parametrize("key", ["image", "soft_targets", "strokes"])
def test_pipes_that_nobody_writes_to_are_not_waited_for(key: str, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path)
    ends = {"image": "p.mha", "soft_targets": "p.npz", "strokes": "p.json"}
    os.mkfifo(tmp_path / ends[key])
    case = {**write_case(tmp_path, "b", 1), key: ends[key]}
    if key == "strokes":
        del case["label"]
    kind = "scribble" if key == "strokes" else "full"
    write_yaml(manifest, {"datasets": [{"name": "d", "kind": kind, "cases": [case]}]})
    done = subprocess.run([sys.executable, "-m", "PartialOrganSegLib", "check", str(manifest)], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 1
    assert "a pipe" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="pipes have no names there")
def test_pipes_among_the_files_of_a_folder_do_not_count(label: str, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    os.rename(label, folder / "a.nii.gz")
    for name in ("x.dcm", "y.json", "z"):
        os.mkfifo(folder / name)
    words = ["scribble", str(folder), "-o", str(tmp_path / "s")]
    done = subprocess.run([sys.executable, "-m", "PartialOrganSegLib", *words],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert len(list((tmp_path / "s").iterdir())) == 1


@pytest.mark.skipif(os.name == "nt", reason="there are no numbers of users there")
def test_a_user_without_a_home_folder_has_the_shipped_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                             capsys: pytest.CaptureFixture) -> None:
    """A container that runs under a number of its own: no HOME, and no entry in the system's list of users."""
    import pwd

    for name in ("HOME", "PARTIALORGANSEG_MODELS", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    with pytest.raises(RuntimeError):
        Path.home()
    assert main(["models", "info", "embedded"]) == 0
    assert main(["models", "list"]) == 0
    assert "embedded" in capsys.readouterr().out
    assert main(["models", "install", str(tmp_path / "model.zip")]) == 1
    assert "PARTIALORGANSEG_MODELS: expected a folder for your models" in capsys.readouterr().err
    with pytest.raises(UserError, match="--token-file names a file of its own"):
        default_token_file()
    assert logfile.user_log().parent == Path(tempfile.gettempdir())


def test_nothing_is_written_over_what_is_read(label: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """`--overwrite` is for results: a corrected label map lost its other organs, a list of CTs all that it listed."""
    labels, cts = tmp_path / "ü a.labels.nii.gz", tmp_path / "cts.csv"
    shutil.copy(label, labels)
    cts.write_text("image\nct.nii.gz\n", encoding="utf-8")
    before = labels.read_bytes()
    export = ["export", str(labels), "--nifti", "--organs", "liver", "-o", str(tmp_path), "--overwrite"]
    for words in (export, ["rank", str(cts), "-o", str(cts), "--overwrite"]):
        assert main(words) == 1
        assert "expected another file than the one that is read" in capsys.readouterr().err
    assert labels.read_bytes() == before
    assert cts.read_text(encoding="utf-8") == "image\nct.nii.gz\n"


def test_learn_makes_no_folder_that_was_misspelt(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["learn", str(tmp_path / "Fälle")]) == 1
    assert "expected a folder with CTs, found nothing there" in capsys.readouterr().err
    assert not (tmp_path / "Fälle").exists()
