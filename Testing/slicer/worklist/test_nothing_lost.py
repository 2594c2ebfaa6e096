"""The work list never replaces what was saved by less unasked: deleted nodes, two windows, cases taken off the list."""

import json
import threading

import numpy as np
import pytest
import qt
import slicer
import slicer.util
from panel_helpers.scenes import add_ct, add_result, label_array, phantom
from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, EDITED, accepted_organs, row, set_state
from PartialOrganSegPanel.scene.segmentation_result import find_results
from PartialOrganSegPanel.scene.stroke_labelmap import NOT_DRAWN, draw_labelmap, scribble_labelmap
from PartialOrganSegPanel.scene.strokes import find_strokes, new_strokes
from PartialOrganSegPanel.scene.voxel_counts import finished
from PartialOrganSegPanel.scene.written_cts import WrittenCts
from PartialOrganSegPanel.shell.work_list import LIST, ListedCase, WorkList, chosen_list
from PartialOrganSegPanel.worklist.case_files import load_case
from PartialOrganSegPanel.worklist.case_saving import save_case

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organs import WORD16


def draw(volume):
    """Some strokes of the liver; gives their label map."""
    labels = np.full(phantom()[1].shape, NOT_DRAWN, np.uint8)
    labels[40, 30:34, 30:34] = 1
    draw_labelmap(new_strokes(volume, WORD16.organs), volume, labels)
    return labels


def case_of(user, name="a"):
    return next(case for case in chosen_list().cases() if case.name == name)


def folder_of(user, name="a"):
    return chosen_list().folder_of(case_of(user, name))


def entry_of(user):
    return json.loads((folder_of(user) / "case.json").read_text(encoding="utf-8"))


# --- deleted in the scene

def test_a_deleted_segmentation_stays_saved(user):
    user.accept("liver", "spleen")
    user.press("saveWork")
    slicer.mrmlScene.RemoveNode(user.panel.parameters.segmentation)
    user.press("saveWork")
    assert "kept as it was saved before: segmentation_1.seg.nrrd" in user.said
    assert entry_of(user)["accepted"] == ["liver", "spleen"]
    assert user.cells(1)[0] == "2 of 16 checked"
    user.press("nextCase")
    assert "kept as it was saved before" in user.said
    assert "b is open" in user.said
    user.press("previousCase")
    node = user.panel.parameters.segmentation
    assert accepted_organs(node) == ["liver", "spleen"]
    assert np.array_equal(label_array(node, user.volume, "liver"), phantom(3)[1] == 1)


def test_deleted_strokes_stay_saved_beside_what_is_accepted_later(user):
    labels = draw(user.volume)
    user.press("saveWork")
    slicer.mrmlScene.RemoveNode(find_strokes(user.volume))
    user.press("saveWork")
    assert "strokes.seg.nrrd" in user.said
    assert entry_of(user)["drawn"] == ["liver"]
    assert user.cells(1)[0] == "strokes"
    user.press("nextCase")
    user.press("previousCase")
    assert np.array_equal(scribble_labelmap(find_strokes(user.volume), user.volume), labels)


def test_one_of_two_segmentations_is_deleted(user):
    user.accept("liver")
    user.accept("spleen")
    user.press("saveWork")
    first, second = find_results(user.volume)
    slicer.mrmlScene.RemoveNode(first)
    set_state(second, row(second, "colon").segment_id, ACCEPTED)
    user.press("nextCase")
    assert "segmentation_1.seg.nrrd" in user.said
    assert "segmentation_2.seg.nrrd" not in user.said
    user.press("previousCase")
    assert [accepted_organs(node) for node in find_results(user.volume)] == [["liver"], ["spleen", "colon"]]
    user.press("saveWork")
    assert user.said == "Saved."
    assert len(list(folder_of(user).glob("*.seg.nrrd"))) == 2


def test_what_is_taken_back_beside_a_deleted_segmentation_is_taken_back(user):
    """The deleted one stays on the disk, but it was not learnt from."""
    user.accept("spleen")
    second = user.accept("liver")
    user.press("saveWork")
    first = find_results(user.volume)[0]
    assert entry_of(user)["accepted"] == ["liver"]
    slicer.mrmlScene.RemoveNode(first)
    set_state(second, row(second, "liver").segment_id, "predicted")
    user.press("saveWork")
    assert "segmentation_1.seg.nrrd" in user.said
    assert not (folder_of(user) / "case.json").exists()


def test_labels_of_an_older_version_stay_beside_a_deleted_segmentation(user):
    """It did not note which segmentation they are of."""
    user.accept("liver")
    user.press("saveWork")
    entry = entry_of(user)
    entry.pop("accepted_in", None)
    (folder_of(user) / "case.json").write_text(json.dumps(entry), encoding="utf-8")
    slicer.mrmlScene.RemoveNode(find_results(user.volume)[0])
    user.press("saveWork")
    assert entry_of(user)["accepted"] == ["liver"]


def test_a_copied_segmentation_gets_a_file_of_its_own(user):
    user.accept("liver")
    user.press("saveWork")
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "copy")
    original = user.panel.parameters.segmentation
    copy.CopyContent(original)
    for name in original.GetAttributeNames():
        copy.SetAttribute(name, original.GetAttribute(name))
    copy.SetReferenceImageGeometryParameterFromVolumeNode(user.volume)
    user.press("saveWork")
    assert sorted(path.name for path in folder_of(user).glob("*.seg.nrrd")) == [
        "segmentation_1.seg.nrrd", "segmentation_2.seg.nrrd"]


def test_what_is_taken_back_is_taken_back(user):
    """A decision that is taken back is no loss: nobody shall learn from it."""
    node = user.accept("liver")
    user.press("saveWork")
    set_state(node, row(node, "liver").segment_id, "predicted")
    user.press("saveWork")
    assert user.said == "Saved."
    assert not (folder_of(user) / "case.json").exists()
    assert user.cells(1)[0] == "segmented"


def test_the_same_ct_is_in_the_scene_already(user):
    """What was saved belongs to the CT of the list, not to the one that the user had loaded before."""
    user.accept("liver")
    user.press("nextCase")
    before = add_ct("loaded before", phantom(3)[0])
    user.press("previousCase")
    assert find_results(before) == []
    assert find_results(user.volume) == [user.panel.parameters.segmentation]
    user.press("nextCase")
    assert user.said == "b is open."
    assert accepted_in_file(user) == ["liver"]


def accepted_in_file(user):
    node = slicer.util.loadSegmentation(str(folder_of(user) / "segmentation_1.seg.nrrd"))
    organs = accepted_organs(node)
    slicer.mrmlScene.RemoveNode(node)
    return organs


def test_the_ct_is_deleted_before_the_next_case(user):
    user.accept("liver")
    user.press("saveWork")
    slicer.mrmlScene.RemoveNode(user.volume)
    user.press("nextCase")
    assert user.said.startswith("The CT of a was deleted in the scene: what was done on it since it was saved last was "
                                "not saved. a is open.")
    assert accepted_organs(user.panel.parameters.segmentation) == ["liver"]
    assert accepted_in_file(user) == ["liver"]


def test_the_ct_is_deleted_while_it_is_saved(user, until):
    user.accept("liver")
    user.press("saveWork")
    user.ui.saveWorkButton.click()
    slicer.mrmlScene.RemoveNode(user.volume)
    until(lambda: user.panel.job is None, 60)
    assert user.said == "a: the CT was deleted while it was saved."
    assert accepted_in_file(user) == ["liver"]


# --- changed meanwhile

def test_what_is_accepted_while_the_case_is_saved_is_saved(user):
    node = user.accept("liver")
    case, volume = case_of(user), user.volume
    work = save_case(chosen_list(), case, volume, node, WrittenCts())
    next(work)  # the segmentation is written
    set_state(node, row(node, "spleen").segment_id, ACCEPTED)
    saved = finished(work)
    assert saved.facts["decided"] == 2
    assert accepted_in_file(user) == ["liver", "spleen"]


def test_what_was_edited_unseen_is_not_saved_as_accepted(user):
    """While Review looks at another patient's, in Slicer's own segment editor."""
    node = user.accept()
    user.panel.section("Review").ui.acceptButton.click()
    other = add_ct("other", phantom(5)[0])
    user.panel.parameters.segmentation = add_result(other, array=phantom(5)[1])
    edited = label_array(node, user.volume, "liver").astype(np.uint8)
    edited[:, :30] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, node, row(node, "liver").segment_id, user.volume)
    user.press("saveWork")
    assert user.said == "Saved."
    assert accepted_in_file(user) == []
    assert row(node, "liver").state == EDITED
    assert not (folder_of(user) / "case.json").exists()
    assert user.cells(1)[0] == "segmented"


def test_a_case_that_never_rests_is_not_closed(user):
    node = user.accept("liver")

    def saved():
        work = save_case(chosen_list(), case_of(user), user.volume, node, WrittenCts())
        for number, _progress in enumerate(work):  # another one at every step
            organ, turn = WORD16.names[number % 16], number // 16 % 2
            set_state(node, row(node, organ).segment_id, ("absent", "accepted")[turn])

    with pytest.raises(UserError, match="was changed while it was saved"):
        saved()
    assert list(folder_of(user).iterdir()) == []


# --- two windows

@pytest.fixture
def other(user):
    """Another window opens the case that is open here, accepts the spleen and saves it; gives its CT."""
    user.accept("liver")
    user.press("saveWork")
    case = case_of(user)
    volume, node = load_case(chosen_list(), case)
    set_state(node, row(node, "spleen").segment_id, ACCEPTED)
    finished(save_case(chosen_list(), case, volume, node, WrittenCts()))
    for other_node in (node, volume):
        slicer.mrmlScene.RemoveNode(other_node)


def test_what_another_window_saved_is_kept_beside(user, other):
    user.services.dialogs.answers.append("keep")
    node = user.panel.parameters.segmentation
    set_state(node, row(node, "colon").segment_id, ACCEPTED)
    user.press("saveWork")
    assert "was saved by another window since it was opened here" in user.services.dialogs.asked[-1][1]
    assert accepted_in_file(user) == ["liver", "colon"]
    aside = folder_of(user) / "earlier 1"
    assert str(aside) in user.said
    kept = slicer.util.loadSegmentation(str(aside / "segmentation_1.seg.nrrd"))
    assert accepted_organs(kept) == ["liver", "spleen"]
    user.press("saveWork")  # asked once
    assert user.said == "Saved."


def test_what_another_window_saved_is_replaced_when_the_user_says_so(user, other):
    user.services.dialogs.answers.append("replace")
    user.press("saveWork")
    assert accepted_in_file(user) == ["liver"]
    assert user.said == "Saved."


def test_cancel_leaves_what_another_window_saved(user, other):
    user.services.dialogs.answers.append(None)
    user.press("nextCase")
    assert user.volume.GetName() == "a"
    assert accepted_in_file(user) == ["liver", "spleen"]


def test_a_case_that_another_window_took_off_the_list_stays_in_the_scene(user):
    node = user.accept("liver")
    chosen_list().remove(case_of(user).source)
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
    folder = folder_of(user)
    choose_another_list(user, tmp_path)
    assert (folder / "case.json").is_file()
    assert user.volume is None
    assert chosen_list().folder == tmp_path / "another list"
    assert user.cells() == []


def test_a_series_and_its_copy_in_a_file_share_what_was_saved(user):
    """The file has lost the DICOM identifiers: taking one of the two off the list leaves the other one's work."""
    user.accept("liver")
    user.press("saveWork")
    voxels = case_of(user).identity.rpartition(":")[2]
    chosen_list().add([ListedCase("dicom:1.2.3", "series", identity=f"dicom:0123abcd voxels:{voxels}")])
    folder = folder_of(user)
    chosen_list().remove("dicom:1.2.3")
    assert accepted_in_file(user) == ["liver"]
    chosen_list().remove(case_of(user).source)
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
    assert accepted_in_file(user) == accepted_organs(node) == ["liver"]


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
    chosen_list().remove(case_of(user).source)
    user.press("saveWork")
    assert user.said == "a is on the list no more, so it was not saved; it stays in the scene."


# --- comments

def type_comment(user, text):
    qt.QTest.keyClicks(user.ui.commentEdit, text)


def test_a_comment_goes_to_the_case_that_it_was_typed_for(user):
    """Also where the field was not left before: on a Mac a button takes no focus."""
    user.ui.worklistTable.setCurrentCell(0, 0)
    type_comment(user, "artefacts")
    user.ui.worklistTable.setCurrentCell(1, 0)
    assert user.ui.commentEdit.text == ""
    assert [case.comment for case in chosen_list().cases()] == ["artefacts", ""]
    user.section._commented()
    assert [case.comment for case in chosen_list().cases()] == ["artefacts", ""]


def test_a_comment_of_another_window_is_shown_and_not_replaced(user):
    user.ui.worklistTable.setCurrentCell(0, 0)
    user.ui.commentEdit.setFocus()
    chosen_list().change(case_of(user).source, comment="from the other window")
    user.section._commented()  # the field is left, without a letter typed
    assert case_of(user).comment == "from the other window"
    user.panel.refresh()
    assert user.ui.commentEdit.text == "from the other window"


def test_what_is_being_typed_stays_while_the_list_changes(user):
    user.ui.worklistTable.setCurrentCell(1, 0)
    type_comment(user, "half a")
    chosen_list().remove(case_of(user).source)  # the row above goes
    user.panel.refresh()
    assert user.ui.commentEdit.text == "half a"
    type_comment(user, " sentence")
    user.section._commented()
    assert [(case.name, case.comment) for case in chosen_list().cases()] == [("b", "half a sentence")]
