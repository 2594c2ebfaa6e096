"""Copies of a patient's CT go, also where Windows does not remove what is open for a moment longer."""

import os

import pytest
from PartialOrganSegPanel.shell import scratch


@pytest.fixture
def held(tmp_path, monkeypatch):
    """`held(times)`: a folder with a CT, whose removal fails so often, and the pauses that follow."""
    unlink, pauses = os.unlink, []

    def hold(times):
        folder = tmp_path / "Slicer-Jürgen"
        folder.mkdir()
        (folder / "ct.nrrd").write_text("a patient's")
        left = [times]

        def refuse(path, **settings):
            if str(path).endswith("ct.nrrd") and left[0]:
                left[0] -= 1
                raise PermissionError(13, "in use by another program", str(path))
            unlink(path, **settings)

        monkeypatch.setattr(os, "unlink", refuse)
        monkeypatch.setattr(scratch.time, "sleep", pauses.append)
        return folder, pauses

    return hold


@pytest.mark.parametrize("times", [0, 1, 3])
def test_a_folder_that_a_killed_process_holds_goes_a_moment_later(held, times):
    folder, pauses = held(times)
    scratch.remove_folder(folder)
    assert not folder.exists()
    assert len(pauses) == times


def test_what_is_held_for_good_stays_without_an_error(held):
    folder, pauses = held(1000)
    scratch.remove_folder(folder)
    scratch.remove_file(folder / "ct.nrrd")
    scratch.remove_file(folder / "none")
    assert (folder / "ct.nrrd").is_file()
    assert 0 < sum(pauses) <= 1
