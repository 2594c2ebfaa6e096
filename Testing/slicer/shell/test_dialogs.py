"""Slicer's own windows: each begins where it was used last, and a long list can be searched."""

import pytest
import qt
import slicer
from PartialOrganSegPanel.shell.dialogs import SlicerDialogs
from PartialOrganSegPanel.shell.tick_list import TickList

ITEMS = [("1", "Müller portal"), ("2", "Müller native"), ("3", "Weiß portal")]


@pytest.fixture
def asked(monkeypatch):
    """Qt's file dialogs answer with `answer`, and `asked` keeps what they were given: folder or file to begin with."""
    starts, answers = [], []
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False, raising=False)

    def answer(_parent, _title, start, *_pattern):
        starts.append(start)
        return answers.pop(0)

    for name in ("getExistingDirectory", "getOpenFileName", "getSaveFileName", "getOpenFileNames"):
        monkeypatch.setattr(qt.QFileDialog, name, answer)
    return starts, answers


def test_each_dialog_begins_where_it_was_used_last(asked, tmp_path):
    starts, answers = asked
    dialogs, exports, models = SlicerDialogs(), tmp_path / "exports", tmp_path / "models"
    exports.mkdir()
    models.mkdir()
    answers += [str(exports), str(models / "x.zip"), "", "", ""]
    assert dialogs.choose_folder("Folder for the export") == exports
    assert dialogs.choose_file("Model", "*.zip") == models / "x.zip"
    assert dialogs.choose_folder("Folder for the export") is None
    assert dialogs.choose_file("Model", "*.zip") is None
    assert dialogs.choose_file("Model", "*.zip", "new.zip") is None
    assert starts == ["", "", str(exports), str(models), str(models / "new.zip")]


def test_a_folder_that_is_gone_is_forgotten(asked, tmp_path):
    starts, answers = asked
    folder = tmp_path / "stick"
    folder.mkdir()
    answers += [str(folder), ""]
    SlicerDialogs().choose_folder("Folder")
    folder.rmdir()
    SlicerDialogs().choose_folder("Folder")
    assert starts[1] == ""


def test_several_files_are_chosen_at_once(asked, tmp_path):
    starts, answers = asked
    answers += [(str(tmp_path / "a.nrrd"), str(tmp_path / "b.nrrd")), ()]
    assert SlicerDialogs().choose_files("CTs", "*.nrrd") == [tmp_path / "a.nrrd", tmp_path / "b.nrrd"]
    assert SlicerDialogs().choose_files("CTs", "*.nrrd") == []
    assert starts == ["", str(tmp_path)]


def test_testing_mode_waits_for_nobody():
    dialogs = SlicerDialogs()
    assert dialogs.choose_files("CTs", "*") == []
    assert dialogs.choose_some("CTs", "Which?", ITEMS) == ["1", "2", "3"]
    assert dialogs.choose_folder("Folder") is None


def test_lines_of_a_long_list_are_searched_and_ticked():
    ticks = TickList(None, "Add cases", "Which?", ITEMS)
    assert not ticks.ok.enabled
    ticks.find.text = "müller"
    assert [ticks.list.item(number).isHidden() for number in range(3)] == [False, False, True]
    ticks.tick_all.click()
    assert ticks.ticked() == ["1", "2"]
    assert ticks.ok.enabled
    ticks.find.text = ""
    # a tick stays while its line is not shown
    assert ticks.ticked() == ["1", "2"]
    ticks.list.item(0).setCheckState(qt.Qt.Unchecked)
    assert ticks.ticked() == ["2"]
