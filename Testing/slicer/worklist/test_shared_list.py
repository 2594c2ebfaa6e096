"""A list that others change or take away loses no work: other windows, newer versions, network drives."""

import json
import threading

import pytest
import slicer
import slicer.util
from panel_helpers.saved_case import accepted_in_file, case_folder, listed_case
from panel_helpers.scenes import decide
from PartialOrganSegPanel.scene.organ_rows import accepted_organs
from PartialOrganSegPanel.scene.voxel_counts import finished
from PartialOrganSegPanel.scene.written_cts import WrittenCts
from PartialOrganSegPanel.shell.work_list import LIST, ListedCase, WorkList, chosen_list
from PartialOrganSegPanel.worklist.case_files import load_case
from PartialOrganSegPanel.worklist.case_saving import save_case

from PartialOrganSegLib.errors import UserError

# --- two windows

@pytest.fixture
def other(user):
    """Another window opens the case that is open here, accepts the spleen and saves it; gives its CT."""
    user.accept("liver")
    user.press("saveWork")
    case = listed_case()
    volume, node = load_case(chosen_list(), case)
    decide(node, "spleen")
    finished(save_case(chosen_list(), case, volume, node, WrittenCts()))
    for other_node in (node, volume):
        slicer.mrmlScene.RemoveNode(other_node)


def test_what_another_window_saved_is_kept_beside(user, other):
    user.services.dialogs.answers.append("keep")
    node = user.panel.parameters.segmentation
    decide(node, "colon")
    user.press("saveWork")
    assert "was saved by another window since it was opened here" in user.services.dialogs.asked[-1][1]
    assert accepted_in_file() == ["liver", "colon"]
    aside = case_folder() / "earlier 1"
    assert str(aside) in user.said
    kept = slicer.util.loadSegmentation(str(aside / "segmentation_1.seg.nrrd"))
    assert accepted_organs(kept) == ["liver", "spleen"]
    user.press("saveWork")  # asked once
    assert user.said == "Saved."


def test_what_another_window_saved_is_replaced_when_the_user_says_so(user, other):
    user.services.dialogs.answers.append("replace")
    user.press("saveWork")
    assert accepted_in_file() == ["liver"]
    assert user.said == "Saved."


def test_cancel_leaves_what_another_window_saved(user, other):
    user.services.dialogs.answers.append(None)
    user.press("nextCase")
    assert user.volume.GetName() == "a"
    assert accepted_in_file() == ["liver", "spleen"]


def test_a_case_that_another_window_took_off_the_list_stays_in_the_scene(user):
    node = user.accept("liver")
    chosen_list().remove(listed_case().source)
    user.press("nextCase")
    assert user.said == "a is on the list no more, so it was not saved; it stays in the scene. b is open."
    assert slicer.mrmlScene.IsNodePresent(node)
    assert [volume.GetName() for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")] == ["a", "b"]


def test_taking_the_open_case_off_the_list_leaves_it_in_the_scene(user):
    node = user.accept("liver")
    user.ui.worklistTable.setCurrentCell(0, 0)
    user.services.dialogs.answers.append("remove")
    user.ui.removeCaseButton.click()
    assert "stays in the scene" in user.said
    user.press("nextCase")
    assert slicer.mrmlScene.IsNodePresent(node)


def choose_another_list(user, tmp_path):
    user.services.dialogs.folder = tmp_path / "another list"
    user.services.dialogs.folder.mkdir()
    user.press("listFolder")


def test_another_list_is_chosen_while_a_case_is_open(user, tmp_path, until):
    user.accept("liver")
    folder = case_folder()
    choose_another_list(user, tmp_path)
    assert (folder / "case.json").is_file()
    assert user.volume is None
    assert chosen_list().folder == tmp_path / "another list"
    assert user.cells() == []


def test_a_series_and_its_copy_in_a_file_share_what_was_saved(user):
    """The file has lost the DICOM identifiers: taking one of the two off the list leaves the other one's work."""
    user.accept("liver")
    user.press("saveWork")
    voxels = listed_case().identity.rpartition(":")[2]
    chosen_list().add([ListedCase("dicom:1.2.3", "series", identity=f"dicom:0123abcd voxels:{voxels}")])
    folder = case_folder()
    chosen_list().remove("dicom:1.2.3")
    assert accepted_in_file() == ["liver"]
    chosen_list().remove(listed_case().source)
    assert not folder.exists()


# --- the list's own file

@pytest.mark.parametrize("content", [
    '{"cases": [{"source": "x"', '{"cases": [3]}', '{"cases": [{"name": "x"}]}', "[]", ""])
def test_a_damaged_list_is_not_written_over(user, content):
    path = chosen_list().folder / LIST
    path.write_text(content, encoding="utf-8")
    work_list = WorkList(path.parent)
    for change in (lambda: work_list.add([ListedCase("y", "y")]), lambda: work_list.remove("x"),
                   lambda: work_list.change("x", comment="z")):
        with pytest.raises(UserError, match="is damaged and was left alone"):
            change()
    assert path.read_text(encoding="utf-8") == content
    node = user.accept("liver")
    user.press("saveWork")
    assert "is damaged and was left alone" in user.said
    assert "is damaged and was left alone" in user.ui.worklistLabel.text
    assert slicer.mrmlScene.IsNodePresent(node)
    user.add()
    assert "is damaged and was left alone" in user.said
    assert path.read_text(encoding="utf-8") == content


def test_what_a_newer_version_noted_stays(tmp_path):
    path = tmp_path / LIST
    path.write_text(json.dumps({"cases": [{"source": "x", "name": "x", "priority": 3}]}), encoding="utf-8")
    WorkList(tmp_path).change("x", comment="a comment")
    WorkList(tmp_path).add([ListedCase("y", "y")])
    entries = json.loads(path.read_text(encoding="utf-8"))["cases"]
    assert entries[0] == {"source": "x", "name": "x", "priority": 3, "comment": "a comment"}
    assert [entry["source"] for entry in entries] == ["x", "y"]


def test_windows_that_add_at_the_same_time(tmp_path):
    def add(name):
        for number in range(15):
            WorkList(tmp_path).add([ListedCase(f"{name}{number}", name)])

    windows = [threading.Thread(target=add, args=(name,)) for name in "ab"]
    for window in windows:
        window.start()
    for window in windows:
        window.join()
    assert len(WorkList(tmp_path).cases()) == 30


# --- a network drive that goes

def test_a_list_that_goes_takes_no_case_along(user):
    """The open case is still one of the list, and no other list is begun in its place."""
    node = user.accept("liver")
    folder = chosen_list().folder
    away = folder.rename(folder.with_name("drive"))
    user.press("saveWork")
    assert "Connect the drive" in user.said
    assert "Saved" not in user.said
    assert "Connect the drive" in user.ui.worklistLabel.text
    user.add()
    assert "Connect the drive" in user.said
    assert not folder.exists()
    folder.mkdir()  # where a drive was mounted there is an empty folder
    user.add()
    assert "Connect the drive" in user.said
    assert list(folder.glob("*.json")) == []
    for path in away.iterdir():
        path.rename(folder / path.name)
    user.press("saveWork")
    assert user.said == "Saved."
    assert accepted_in_file() == accepted_organs(node) == ["liver"]


def test_a_list_that_was_not_there_at_the_start(tmp_path):
    work_list = WorkList(tmp_path / "drive", chosen=True)
    for act in (work_list.read, lambda: work_list.add([ListedCase("y", "y")])):
        with pytest.raises(UserError, match="Connect the drive"):
            act()
    assert work_list.cases() == []
    assert not work_list.folder.exists()
    assert WorkList(tmp_path / "first use").read() == []


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("[", encoding="utf-8")])
def test_another_list_is_chosen_when_the_first_one_cannot_be_read(user, tmp_path, damage):
    node = user.accept("liver")
    damage(chosen_list().folder / LIST)
    choose_another_list(user, tmp_path)
    assert "a was not saved; it stays in the scene." in user.said
    assert slicer.mrmlScene.IsNodePresent(node)
    assert chosen_list().folder == tmp_path / "another list"
    assert user.cells() == []


def test_what_was_not_saved_is_not_said_to_be(user):
    user.accept("liver")
    chosen_list().remove(listed_case().source)
    user.press("saveWork")
    assert user.said == "a is on the list no more, so it was not saved; it stays in the scene."
