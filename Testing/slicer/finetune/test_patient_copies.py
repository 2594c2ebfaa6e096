"""Copies of CTs in run folders: gone after a finished run, kept to resume an interrupted one, deleted when asked."""

import shutil

import pytest
from PartialOrganSegPanel.finetune import patient_copies
from PartialOrganSegPanel.finetune.patient_copies import copies_below, copies_in
from PartialOrganSegPanel.finetune.run import FINISHED, STARTED, state

from PartialOrganSegLib.file_locks import locked
from PartialOrganSegLib.finetuning.run_folder import LOCK_FILE


def images(run):
    """Whatever holds voxels of patients."""
    return sorted(path.name for path in run.rglob("*") if path.suffix in (".nrrd", ".npy"))


def prepared(run):
    """What the command adds: prepared voxels and a checkpoint."""
    for name in ("cache", "cases"):
        (run / name).mkdir()
        (run / name / "a.npy").write_bytes(bytes(10))
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.pt").write_bytes(b"weights")


@pytest.mark.parametrize("keep", [False, True])
def test_a_finished_run_holds_no_images_unless_they_are_kept(course, keep):
    course.add_case()
    course.settings.keepCopies = keep
    course.start()
    prepared(course.run)
    before = images(course.run)
    assert len(before) == 4
    course.finish()
    assert images(course.run) == (before if keep else [])
    assert ("holds copies" if keep else "Copies of the CTs deleted") in course.said
    assert state(course.run) == FINISHED
    assert course.ui.useButton.enabled
    assert (course.run / "data" / "manifest.yaml").is_file()


def test_an_interrupted_run_keeps_what_resuming_needs(course):
    course.add_case()
    course.start()
    course.plan()
    prepared(course.run)
    course.ui.startButton.click()
    course.process.end(130)
    assert len(images(course.run)) == 4
    assert "holds copies" in course.said
    assert course.ui.resumeButton.enabled


@pytest.mark.parametrize(("answer", "copy_count"), [(None, 2), ("finished", 1), ("all", 0)])
def test_copies_are_deleted_when_the_user_asks(course, answer, copy_count):
    course.add_case()
    course.settings.keepCopies = True
    course.start()
    course.finish()
    finished = course.run
    course.settings.name = "another"
    course.start()
    course.plan()
    course.process.end(1)
    assert state(course.run) == STARTED
    course.services.dialogs.answers = [answer]
    course.ui.deleteCopiesButton.click()
    _title, question, choices = course.services.dialogs.asked[-1]
    assert "2 runs" in question
    assert "1 of them are not finished" in question
    assert [key for key, _ in choices] == ["finished", "all"]
    assert len(copies_below(finished.parent)) == copy_count
    assert state(finished) == FINISHED


def test_nothing_to_delete_is_said(course):
    course.ui.deleteCopiesButton.click()
    assert "No run" in course.said
    assert not course.services.dialogs.asked


def test_a_run_of_another_window_keeps_its_copies(course):
    """Both windows have their runs in the same folder, unless somebody chooses another one."""
    course.add_case()
    course.settings.keepCopies = True
    course.start()
    course.finish()
    others = course.run.with_name("of another window")
    shutil.copytree(course.run / "data", others / "data")  # it looks at its cases and has no plan yet
    course.services.dialogs.answers = ["finished"]
    course.ui.deleteCopiesButton.click()
    assert "1 of them are not finished" in course.services.dialogs.asked[-1][1]
    assert images(course.run) == []
    assert images(others)
    (others / "plan.json").write_text("{}", encoding="utf-8")
    with locked(others / LOCK_FILE):
        course.ui.deleteCopiesButton.click()
        assert course.said == "1 runs work in another window, and keep theirs."
    course.services.dialogs.answers = ["all"]
    course.ui.deleteCopiesButton.click()
    assert images(others) == []


def test_the_lock_is_the_librarys():
    assert patient_copies.LOCK == LOCK_FILE


def test_a_run_of_the_terminal_is_left_alone(tmp_path):
    """Its data lie wherever the user has them."""
    (tmp_path / "run" / "cache").mkdir(parents=True)
    (tmp_path / "run" / "plan.json").write_text("{}")
    assert copies_in(tmp_path / "run") is None
    assert copies_below(tmp_path) == []
    assert copies_below(tmp_path / "none") == []
