"""The work list never replaces what was saved by less unasked: nodes that were deleted or changed in the scene."""

import json

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.saved_case import accepted_in_file, case_facts, case_folder, listed_case
from panel_helpers.scenes import add_ct, add_result, add_strokes, decide, label_array, phantom
from PartialOrganSegPanel.scene.organ_rows import EDITED, accepted_organs, row
from PartialOrganSegPanel.scene.segmentation_result import find_results
from PartialOrganSegPanel.scene.stroke_labelmap import scribble_labelmap
from PartialOrganSegPanel.scene.strokes import find_strokes
from PartialOrganSegPanel.scene.voxel_counts import finished
from PartialOrganSegPanel.scene.written_cts import WrittenCts
from PartialOrganSegPanel.shell.work_list import chosen_list
from PartialOrganSegPanel.worklist.case_saving import save_case

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organs import WORD16

# --- deleted in the scene

def test_a_deleted_segmentation_stays_saved(user):
    user.accept("liver", "spleen")
    user.press("saveWork")
    slicer.mrmlScene.RemoveNode(user.panel.parameters.segmentation)
    user.press("saveWork")
    assert "kept as it was saved before: segmentation_1.seg.nrrd" in user.said
    assert case_facts()["accepted"] == ["liver", "spleen"]
    assert user.cells(1)[0] == "2 of 16 checked"
    user.press("nextCase")
    assert "kept as it was saved before" in user.said
    assert "b is open" in user.said
    user.press("previousCase")
    node = user.panel.parameters.segmentation
    assert accepted_organs(node) == ["liver", "spleen"]
    assert np.array_equal(label_array(node, user.volume, "liver"), phantom(3)[1] == 1)


def test_deleted_strokes_stay_saved_beside_what_is_accepted_later(user):
    labels = add_strokes(user.volume)
    user.press("saveWork")
    slicer.mrmlScene.RemoveNode(find_strokes(user.volume))
    user.press("saveWork")
    assert "strokes.seg.nrrd" in user.said
    assert case_facts()["drawn"] == ["liver"]
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
    decide(second, "colon")
    user.press("nextCase")
    assert "segmentation_1.seg.nrrd" in user.said
    assert "segmentation_2.seg.nrrd" not in user.said
    user.press("previousCase")
    assert [accepted_organs(node) for node in find_results(user.volume)] == [["liver"], ["spleen", "colon"]]
    user.press("saveWork")
    assert user.said == "Saved."
    assert len(list(case_folder().glob("*.seg.nrrd"))) == 2


def test_what_is_taken_back_beside_a_deleted_segmentation_is_taken_back(user):
    """The deleted one stays on the disk, but it was not learnt from."""
    user.accept("spleen")
    second = user.accept("liver")
    user.press("saveWork")
    first = find_results(user.volume)[0]
    assert case_facts()["accepted"] == ["liver"]
    slicer.mrmlScene.RemoveNode(first)
    decide(second, "liver", state="predicted")
    user.press("saveWork")
    assert "segmentation_1.seg.nrrd" in user.said
    assert not (case_folder() / "case.json").exists()


def test_labels_of_an_older_version_stay_beside_a_deleted_segmentation(user):
    """It did not note which segmentation they are of."""
    user.accept("liver")
    user.press("saveWork")
    entry = case_facts()
    entry.pop("accepted_in", None)
    (case_folder() / "case.json").write_text(json.dumps(entry), encoding="utf-8")
    slicer.mrmlScene.RemoveNode(find_results(user.volume)[0])
    user.press("saveWork")
    assert case_facts()["accepted"] == ["liver"]


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
    assert sorted(path.name for path in case_folder().glob("*.seg.nrrd")) == [
        "segmentation_1.seg.nrrd", "segmentation_2.seg.nrrd"]


def test_what_is_taken_back_is_taken_back(user):
    """A decision that is taken back is no loss: nobody shall learn from it."""
    node = user.accept("liver")
    user.press("saveWork")
    decide(node, "liver", state="predicted")
    user.press("saveWork")
    assert user.said == "Saved."
    assert not (case_folder() / "case.json").exists()
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
    assert accepted_in_file() == ["liver"]


def test_the_ct_is_deleted_before_the_next_case(user):
    user.accept("liver")
    user.press("saveWork")
    slicer.mrmlScene.RemoveNode(user.volume)
    user.press("nextCase")
    assert user.said.startswith("The CT of a was deleted in the scene: what was done on it since it was saved last was "
                                "not saved. a is open.")
    assert accepted_organs(user.panel.parameters.segmentation) == ["liver"]
    assert accepted_in_file() == ["liver"]


def test_the_ct_is_deleted_while_it_is_saved(user, until):
    user.accept("liver")
    user.press("saveWork")
    user.ui.saveWorkButton.click()
    slicer.mrmlScene.RemoveNode(user.volume)
    until(lambda: user.panel.job is None, 60)
    assert user.said == "a: the CT was deleted while it was saved."
    assert accepted_in_file() == ["liver"]


# --- changed meanwhile

def test_what_is_accepted_while_the_case_is_saved_is_saved(user):
    node = user.accept("liver")
    case, volume = listed_case(), user.volume
    work = save_case(chosen_list(), case, volume, node, WrittenCts())
    next(work)  # the segmentation is written
    decide(node, "spleen")
    saved = finished(work)
    assert saved.facts["decided"] == 2
    assert accepted_in_file() == ["liver", "spleen"]


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
    assert accepted_in_file() == []
    assert row(node, "liver").state == EDITED
    assert not (case_folder() / "case.json").exists()
    assert user.cells(1)[0] == "segmented"


def test_a_case_that_never_rests_is_not_closed(user):
    node = user.accept("liver")

    def saved():
        work = save_case(chosen_list(), listed_case(), user.volume, node, WrittenCts())
        for number, _progress in enumerate(work):  # another one at every step
            organ, turn = WORD16.names[number % 16], number // 16 % 2
            decide(node, organ, state=("absent", "accepted")[turn])

    with pytest.raises(UserError, match="was changed while it was saved"):
        saved()
    assert list(case_folder().iterdir()) == []
