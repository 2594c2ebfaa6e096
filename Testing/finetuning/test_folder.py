"""The folder of a fine-tuning run: what else lies in it stays, one process works in it, and it goes on as it was."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.finetuning.run import finetune, resume
from PartialOrganSegLib.loading.locking import held_alone
from PartialOrganSegLib.models.bundle import Bundle
from PartialOrganSegLib.models.checksums import verify_bundle
from Testing.helpers.finetune_data import QUICK, RunListener, ct_of, only, write_cases, write_start
from Testing.helpers.repository import ROOT
from Testing.helpers.training_data import write_image

HOLDER = """
import sys
from pathlib import Path
from PartialOrganSegLib.loading.locking import held_alone
with held_alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Bundle:
    return write_start(tmp_path_factory.mktemp("start") / "start")


@pytest.fixture
def data(tmp_path) -> Path:
    return write_cases(tmp_path / "Fälle", [only(ct_of(seed)[1], 2) for seed in range(2)])


def tune(start: Bundle, data: Path, run: Path, reporter: RunListener | None = None, overrides: tuple[str, ...] = ()):
    options = FinetuneOptions(steps=2, replay="none", overrides=[*QUICK, *overrides])
    return finetune(start.folder, data, run, "cpu", options, None, reporter)


def begun(start: Bundle, data: Path, run: Path, step: int = 1) -> Path:
    """A run that was stopped after a step."""
    with pytest.raises(KeyboardInterrupt):
        tune(start, data, run, RunListener(step, KeyboardInterrupt()))
    return run


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_run_may_not_replace_its_start_model(data, tmp_path):
    start = write_start(tmp_path / "run" / "model")
    for run in (tmp_path / "run", start.folder, start.folder / "inside"):
        with pytest.raises(UserError, match="apart from the start model"):
            tune(start, data, run)
    verify_bundle(start.folder)


@pytest.mark.parametrize("name", ["manifest.yaml", "recipe.yaml", "label_space.json", "result.json", "model/mine.txt",
                                   "plan.json", "cases/mine.nii.gz", "cache/mine.npy"])
def test_files_in_the_folder_are_not_written_over(start, data, tmp_path, name):
    file = tmp_path / "mine" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(UserError, match=rf"mine: expected a new run folder, found {name.partition('/')[0]} in it"):
        tune(start, data, tmp_path / "mine")
    assert content(tmp_path / "mine") == {name: b"mine"}


def test_the_folder_of_the_data_is_no_run_folder(start, data):
    before = content(data.parent)
    with pytest.raises(UserError, match="expected a run folder apart from the data"):
        tune(start, data, data.parent)
    assert content(data.parent) == before


def test_a_folder_that_cannot_be_made_is_reported_in_one_line(start, data, tmp_path):
    (tmp_path / "file").write_text("")
    for run, found in ((tmp_path / "file", "a file"), (tmp_path / "file" / "run", "")):  # in the words of the system
        with pytest.raises(UserError, match=f"expected a run folder that can be made and written into, found {found}"):
            tune(start, data, run)


def test_a_run_without_a_checkpoint_may_be_begun_anew(start, data, tmp_path):
    with pytest.raises(UserError, match="no case left to train on"):
        tune(start, data, tmp_path / "run", overrides=("use=[full]",))
    assert (tmp_path / "run" / "plan.json").exists()
    tune(start, data, tmp_path / "run")
    with pytest.raises(UserError, match="found a run; add --resume"):
        tune(start, data, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")  # to save room: the result stays
    with pytest.raises(UserError, match=r"found result\.json, model in it"):
        tune(start, data, tmp_path / "run")


@pytest.mark.parametrize("at", ["measuring the speed", "reading cases"])
def test_a_run_that_ends_before_its_first_step_leaves_nothing(start, data, tmp_path, at):
    # Ends a run at any point before its first step, as somebody with the wrong folder does.
    class Impatient(RunListener):
        def progress(self, stage: str, step: int, total: int) -> None:
            if stage == at:
                raise KeyboardInterrupt

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for run in (tmp_path / "run", tmp_path / "mine"):
        with pytest.raises(UserError, match=r"preprocessing\.patch_zyx: expected multiples"):
            tune(start, data, run, overrides=("preprocessing.patch_zyx=[8, 16, 15]",))
        with pytest.raises(KeyboardInterrupt):
            tune(start, data, run, Impatient())
    assert not (tmp_path / "run").exists()
    assert content(tmp_path / "mine") == {"notes.txt": b"mine"}


def test_a_plan_does_not_outlive_the_labels_it_was_made_for(start, data, tmp_path):
    """Begun anew with other labels and stopped before a plan of these: to go on would learn them as the old ones."""
    run = begun(start, data, tmp_path / "run")
    kidneys = write_cases(tmp_path / "other", [only(ct_of(seed)[1], 3) for seed in range(2)], annotated=["left_kidney"])

    class Impatient(RunListener):
        def progress(self, stage: str, step: int, total: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(start, kidneys, run, Impatient())
    with pytest.raises(UserError, match=r"plan\.json: expected the plan of a run to resume, found none"):
        resume(run, "cpu")
    assert list(tune(start, kidneys, run).bundle.metadata.partialorganseg.lineage.learnt) == ["left_kidney"]


def test_one_process_works_in_a_folder(start, data, tmp_path):
    run = begun(start, data, tmp_path / "run")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(run / ".lock")], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert holder.stdout.readline() == "held\n"
        before = content(run)
        for work in (lambda: resume(run, "cpu"), lambda: tune(start, data, run)):
            with pytest.raises(UserError, match="expected no run at work in this folder, found one"):
                work()
        assert content(run) == before
    finally:
        holder.kill()
        holder.wait()
    assert resume(run, "cpu").bundle.name == "start-finetuned"  # a lock ends with its process


def test_the_lock_of_a_run_that_has_only_begun_stays(start, data, tmp_path):
    (tmp_path / "run").mkdir()
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "run" / ".lock")], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="expected no run at work in this folder, found one"):
            tune(start, data, tmp_path / "run")
        assert (tmp_path / "run" / ".lock").exists()
        holder.stdin.close()


@pytest.mark.parametrize("refusals", [0, 3, 10])
def test_on_windows_a_lock_that_is_freed_late_is_waited_for(tmp_path, monkeypatch, refusals):
    """Two system calls are not Windows': what locks, and what sleeps."""
    calls = []

    def locking(handle, mode, size):
        calls.append((mode, size))
        if len(calls) <= refusals:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=locking))
    monkeypatch.setattr("PartialOrganSegLib.loading.locking.sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr("PartialOrganSegLib.loading.locking.TRIES", 10)
    monkeypatch.setattr("PartialOrganSegLib.loading.locking.time", SimpleNamespace(sleep=lambda seconds: None))
    with contextlib.ExitStack() as stack:
        if refusals == 10:
            stack.enter_context(pytest.raises(BlockingIOError, match="is locked"))
        stack.enter_context(held_alone(tmp_path / "lock"))
    # One byte a try, without waiting (LK_NBLCK): Windows itself would wait ten seconds.
    assert calls == [(2, 1)] * min(refusals + 1, 10)


def test_a_lock_is_given_back(tmp_path):
    for _ in range(2):
        with held_alone(tmp_path / "lock"):
            pass


def test_a_changed_or_missing_image_is_noticed_on_resuming(start, data, tmp_path):
    run, image = begun(start, data, tmp_path / "run"), data.parent / "1_image.nii.gz"
    old = image.read_bytes()
    # The same name, size and header, but other voxels.
    write_image(image, np.roll(ct_of(1)[0], 1, 2))
    with pytest.raises(UserError, match=r"1_image\.nii\.gz: expected the image as it was when the run began"):
        resume(run, "cpu")
    image.unlink()
    with pytest.raises(UserError, match=r"1_image\.nii\.gz: expected this image of the run, found none"):
        resume(run, "cpu")
    image.write_bytes(old)
    resume(run, "cpu")
