"""The work list: cases are opened one after the other, and nothing is lost."""

import json

import numpy as np
import pytest
import qt
import slicer
import slicer.util
from panel_helpers.finetune_course import Course
from panel_helpers.list_user import ListUser
from panel_helpers.saved_case import case_folder
from panel_helpers.scenes import add_strokes, label_array, phantom
from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, accepted_organs, row, rows
from PartialOrganSegPanel.scene.stroke_labelmap import scribble_labelmap
from PartialOrganSegPanel.scene.strokes import find_strokes
from PartialOrganSegPanel.shell.work_list import ListedCase, WorkList, chosen_list

from PartialOrganSegLib.datasets.manifest import check_manifest, load_manifest
from PartialOrganSegLib.organs import WORD16


@pytest.fixture
def user(make_panel, until, tmp_path):
    """Two patients' CTs, which have one name in two folders, on the list."""
    made = ListUser(make_panel, until, tmp_path / "Für die Planung")
    made.write_two()
    return made


# --- opening and saving

def test_next_saves_the_case_and_opens_the_other(user):
    user.press("nextCase")
    assert user.volume.GetName() == "a"
    assert np.array_equal(slicer.util.arrayFromVolume(user.volume), phantom(3)[0])
    user.ui.reviewerEdit.text = "Dr. Weiß"
    user.accept("liver")
    user.press("nextCase")
    assert user.volume.GetName() == "b"
    assert user.panel.parameters.segmentation is None
    assert [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")] == ["b"]
    assert user.cells(1) == ["1 of 16 checked", "new"]
    assert user.cells(2) == ["Dr. Weiß", ""]
    user.press("previousCase")
    node = user.panel.parameters.segmentation
    assert accepted_organs(node) == ["liver"]
    assert np.array_equal(label_array(node, user.volume, "liver"), phantom(3)[1] == 1)
    assert len(rows(node)) == 16


def test_strokes_come_back_with_their_case(user):
    user.press("nextCase")
    strokes = add_strokes(user.volume)
    user.press("nextCase")
    assert user.cells(1)[0] == "strokes"
    assert find_strokes(user.volume) is None
    user.press("previousCase")
    assert np.array_equal(scribble_labelmap(find_strokes(user.volume), user.volume), strokes)


def test_a_file_that_holds_another_ct_by_now_is_refused(user):
    user.press("nextCase")
    user.accept("liver")
    user.press("nextCase")
    user.write_ct("a", 5)
    user.press("previousCase")
    assert "another CT" in user.said
    assert user.volume.GetName() == "b"
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 1


def test_a_file_that_is_gone_is_told(user):
    (user.folder / "a.nrrd").unlink()
    user.press("nextCase")
    assert "there is no such file" in user.said
    assert user.volume is None


@pytest.mark.parametrize("share", [0, 0.01, 0.9])
def test_damaged_work_leaves_the_scene_as_it_was(user, share):
    user.press("nextCase")
    user.accept("liver")
    user.press("nextCase")
    saved = next(case_folder().glob("segmentation*.seg.nrrd"))
    content = saved.read_bytes()
    saved.write_bytes(content[:round(share * len(content))])
    user.press("previousCase")
    assert user.said == f"{saved}: the file is damaged and was left alone."
    assert user.volume.GetName() == "b"
    assert [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")] == ["b"]


def test_what_cannot_be_saved_stays_open(user, monkeypatch):
    user.press("nextCase")
    user.accept("liver")

    def full(*_):
        raise OSError("case.json: the disk is full")

    monkeypatch.setattr("PartialOrganSegPanel.worklist.case_saving.write_scene_case", full)
    user.press("nextCase")
    assert "the disk is full" in user.said
    assert user.volume.GetName() == "a"
    assert accepted_organs(user.panel.parameters.segmentation) == ["liver"]


# --- notes

def test_rejected_cases_are_passed_over(user):
    user.ui.worklistTable.setCurrentCell(0, 0)
    user.ui.rejectedBox.click()
    assert user.cells(1) == ["rejected", "new"]
    assert user.ui.worklistLabel.text == "Cases done: 0 of 2, rejected: 1."
    user.press("nextCase")
    assert user.volume.GetName() == "b"
    assert "no other case" in user.ui.nextCaseButton.toolTip


def test_two_slicers_do_not_lose_each_others_notes(tmp_path):
    first, second = WorkList(tmp_path), WorkList(tmp_path)
    first.add([ListedCase("x", "x"), ListedCase("y", "y")])
    first.change("x", comment="one")
    second.change("y", comment="two")
    assert [case.comment for case in first.cases()] == ["one", "two"]


def test_a_newer_versions_list_is_read(tmp_path):
    (tmp_path / "worklist.json").write_text(json.dumps({"cases": [{"source": "x", "name": "x", "priority": 3}]}))
    assert WorkList(tmp_path).cases() == [ListedCase("x", "x")]


def test_removing_deletes_what_was_saved_and_leaves_the_ct(user):
    user.press("nextCase")
    user.accept("liver")
    user.press("nextCase")
    folder = user.section._list.folder_of(user.section._cases[0])
    assert folder.is_dir()
    user.ui.worklistTable.setCurrentCell(0, 0)
    user.services.dialogs.answers.append("remove")
    user.ui.removeCaseButton.click()
    assert user.cells() == ["b"]
    assert not folder.exists()
    assert (user.folder / "a.nrrd").is_file()


# --- learning from earlier cases

def test_fine_tuning_sees_earlier_cases(user, make_panel, tmp_path, until):
    user.press("nextCase")
    user.accept("liver")
    user.press("nextCase")
    user.accept("spleen", seed=4)
    user.panel.refresh()
    course = Course(make_panel, tmp_path / "runs")
    course.panel.refresh()
    table = course.ui.caseTable
    assert [table.item(place, 0).text() for place in range(table.rowCount)] == ["b", "a"]
    assert table.item(1, 1).text() == "accepted: liver; accepted in the work list"
    course.start()
    manifest = course.run / "data" / "manifest.yaml"
    check_manifest(load_manifest(manifest))
    entries = json.loads(manifest.read_text(encoding="utf-8"))["datasets"][0]["cases"]
    assert [(entry["name"], entry["annotated"]) for entry in entries] == [("b", ["spleen"]), ("a", ["liver"])]
    case = next(case for case in load_manifest(manifest).cases if case.name.endswith("a"))
    assert np.array_equal(case.read_label(WORD16).array == 1, phantom(3)[1] == 1)


def test_a_listed_case_is_left_out_when_it_is_unticked_or_rejected(user, make_panel, tmp_path):
    user.press("nextCase")
    user.accept("liver")
    user.press("nextCase")
    course = Course(make_panel, tmp_path / "runs")
    course.panel.refresh()
    assert course.ui.caseTable.item(1, 0).text() == "a"
    course.ui.caseTable.item(1, 0).setCheckState(qt.Qt.Unchecked)
    assert not chosen_list().cases()[0].included
    assert "0 of 2 CTs" in course.ui.casesLabel.text
    chosen_list().change(chosen_list().cases()[0].source, rejected=True)
    course.panel.refresh()
    assert course.ui.caseTable.rowCount == 1


def test_a_done_case(user):
    user.press("nextCase")
    node = user.accept(*WORD16.names)
    assert row(node, "liver").state == ACCEPTED
    user.press("saveWork")
    assert user.cells(1)[0] == "done"
