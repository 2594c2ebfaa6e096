"""What killed processes left half made is finished or goes at the next run, and never what a living one makes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from PartialOrganSegLib import scratch as scratch_module
from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.exchanging import exchange
from PartialOrganSegLib.outputs import all_at_once
from PartialOrganSegLib.scratch import clear_abandoned, replace_folder, scratch_folder
from Testing.helpers.repository import ROOT

needs_posix = pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
HOLDS = """
import sys
from pathlib import Path
from PartialOrganSegLib import scratch as scratch_module
from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.scratch import clear_abandoned, replace_folder, scratch_folder
with scratch_folder(Path(sys.argv[1]), ".made-") as scratch, whole_file(Path(sys.argv[1]) / "x.json") as temporary:
    temporary.write_text("half")
    print(scratch, temporary, sep="\\n", flush=True)
    sys.stdin.read()
"""


@needs_posix
def test_leftovers_go_once_their_process_is_gone(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    # Both are in use by a living process, whose locks the next run can see.
    held = [Path(process.stdout.readline().strip()) for _ in range(2)]

    def work() -> None:
        with scratch_folder(tmp_path, ".made-"), whole_file(tmp_path / "x.json") as temporary:
            temporary.write_text("whole")

    work()
    assert all(path.exists() for path in held)
    process.kill()
    process.wait()
    work()
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert (tmp_path / "x.json").read_text() == "whole"


def test_a_folder_without_a_lock_goes_when_it_is_old(tmp_path):
    # Without locks, as on some network drives, only age tells an abandoned folder.
    for name, age_s in (("new", 0), ("old", 2 * 86400)):
        folder = tmp_path / f".made-{name}"
        folder.mkdir()
        (folder / "file").touch()
        os.utime(folder, (time.time() - age_s,) * 2)
    with scratch_folder(tmp_path, ".made-"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".made-new"]


def test_an_empty_folder_goes_at_once(tmp_path):
    """Removing one was broken off after its last file."""
    (tmp_path / ".made-empty").mkdir()
    with scratch_folder(tmp_path, ".made-"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["scan [1]", "[!a]", pytest.param("a**b", marks=needs_posix),
                                  pytest.param("?", marks=needs_posix)])
def test_a_name_is_no_pattern(name, tmp_path):
    """Leftovers of a CT whose name has letters of patterns go, and those of others stay."""
    for owner in (name, "z"):
        (tmp_path / f".partial-{owner}-abc" / "new").mkdir(parents=True)
        (tmp_path / f".partial-{owner}-abc" / ".lock").touch()
    with all_at_once(tmp_path, name) as scratch:
        (scratch / "a.txt").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".partial-z-abc", "a.txt"]


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_results_that_had_begun_to_appear_all_appear(tmp_path, moved):
    """As a process leaves them that is killed after `moved` of two renames; b is another's file since then."""
    scratch = tmp_path / ".partial--abc"
    (scratch / "new").mkdir(parents=True)
    (scratch / "earlier").mkdir()
    (scratch / ".lock").touch()
    for number, name in enumerate(["a.txt", "c.txt"]):
        (tmp_path / name).write_text("old")
        os.link(tmp_path / name, scratch / "earlier" / name)
        (scratch / "new" / name).write_text("new")
        if number < moved:
            os.replace(scratch / "new" / name, tmp_path / name)
    (scratch / "new" / "b.txt").write_text("new")
    (tmp_path / "b.txt").write_text("somebody's")
    with all_at_once(tmp_path) as folder:
        (folder / "d.txt").write_text("mine")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a.txt": "new", "b.txt": "somebody's", "c.txt": "new", "d.txt": "mine"}


def test_results_that_were_not_all_written_do_not_appear(tmp_path):
    (tmp_path / ".partial--abc" / "new").mkdir(parents=True)
    (tmp_path / ".partial--abc" / ".lock").touch()
    (tmp_path / ".partial--abc" / "new" / "a.txt").write_text("half")
    with all_at_once(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="needs a system that can")
def test_two_folders_change_places(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert exchange(tmp_path / "first", tmp_path / "second")
    assert [path.name for path in (tmp_path / "first").iterdir()] == ["second"]
    assert not exchange(tmp_path / "first", tmp_path / "missing")
    assert (tmp_path / "first" / "second").exists()


def test_a_full_disk_names_the_file_that_was_to_be(tmp_path):
    with pytest.raises(OSError, match="No space left") as error, whole_file(tmp_path / "x.json"):
        raise OSError(28, "No space left on device")
    assert error.value.filename == str(tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_replaced_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("new", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "which").write_text(name)
    scratch = tmp_path / "old"
    scratch.mkdir()
    # Windows refuses to move a folder in which a file is open.
    rename = scratch_module.put_in_place

    def refused(source: Path, target: Path) -> None:
        if source.name == "new":
            raise PermissionError("in use")
        rename(source, target)

    monkeypatch.setattr(scratch_module, "put_in_place", refused)
    monkeypatch.setattr(scratch_module, "exchange", lambda *_: False)  # as where the system cannot
    with pytest.raises(PermissionError):
        replace_folder(tmp_path / "new", tmp_path / "model", scratch)
    assert (tmp_path / "model" / "which").read_text() == "model"


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_that_is_replaced_goes_to_the_scratch_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                             exchanges: bool) -> None:
    if not exchanges:
        monkeypatch.setattr(scratch_module, "exchange", lambda *_: False)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for folder in (scratch / "new", tmp_path / "model"):
        folder.mkdir()
        (folder / "which").write_text(folder.name)
    replace_folder(scratch / "new", tmp_path / "model", scratch)
    assert (tmp_path / "model" / "which").read_text() == "new"
    [old] = scratch.rglob("which")
    assert old.read_text() == "model"


def test_a_folder_whose_replacing_was_broken_off_is_put_back(tmp_path: Path) -> None:
    """As a process leaves it that is killed between two renames, where two folders cannot be exchanged."""
    scratch = tmp_path / ".bundle-abc"
    for part, content in (("new", "new"), ("old/model", "model")):
        (scratch / part).mkdir(parents=True)
        (scratch / part / "which").write_text(content)
    (scratch / ".lock").touch()
    clear_abandoned(tmp_path, ".bundle-")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "which").read_text() == "model"
