"""Two segmentations of one CT of the work list: which one counts, what they are called and their order come back."""

import pytest
import slicer
from panel_helpers.saved_case import case_facts, case_folder
from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, rows
from PartialOrganSegPanel.scene.segmentation_result import find_results


def learnt_from():
    return case_facts()["accepted"]


def reopen(user):
    user.press("nextCase")
    user.press("previousCase")


def accepted(volume):
    """Of each segmentation, the latest last."""
    return [[row.organ for row in rows(node) if row.state == ACCEPTED] for node in find_results(volume)]


def test_the_one_that_was_chosen_is_chosen_when_the_case_is_opened_again(user):
    """Else merely looking at a case replaces what is learnt from it."""
    first = user.accept("liver")
    user.accept("spleen")
    user.panel.parameters.segmentation = first
    user.press("saveWork")
    assert learnt_from() == ["liver"]
    reopen(user)
    chosen = user.panel.parameters.segmentation
    assert [row.organ for row in rows(chosen) if row.state == ACCEPTED] == ["liver"]
    reopen(user)
    assert learnt_from() == ["liver"]
    assert sorted(accepted(user.volume)) == [["liver"], ["spleen"]]


def test_they_and_the_ct_keep_their_names(user):
    user.accept("liver").SetName("Anna's")
    user.accept("spleen").SetName("Bert's")
    user.press("saveWork")
    reopen(user)
    assert {node.GetName(): organs for node, organs in
            zip(find_results(user.volume), accepted(user.volume), strict=True)} == {
        "Anna's": ["liver"], "Bert's": ["spleen"]}
    assert user.volume.GetName() == "a"


def test_one_that_comes_back_from_the_disk_does_not_count_before_those_that_stayed(user):
    user.accept("liver").SetName("Anna's")
    later = user.accept("spleen")
    later.SetName("Bert's")
    user.press("saveWork")
    slicer.mrmlScene.RemoveNode(later)
    user.press("saveWork")
    assert learnt_from() == ["liver"]
    reopen(user)
    assert accepted(user.volume) == [["spleen"], ["liver"]]
    assert [node.GetName() for node in find_results(user.volume)] == ["Bert's", "Anna's"]
    reopen(user)
    assert learnt_from() == ["liver"]


def test_two_cases_whose_segmentations_have_one_name(user):
    user.accept("liver").SetName("Anna's")
    user.press("nextCase")
    user.accept("liver", seed=4).SetName("Anna's")
    for _time in range(3):
        user.press("previousCase")
        user.press("nextCase")
        assert user.panel.parameters.segmentation.GetName() == "Anna's"


@pytest.mark.parametrize("text", [None, "", "[", "3", '{"segmentation_2.seg.nrrd": 7}'])
def test_a_missing_or_damaged_note_of_the_order(user, text):
    """As in folders of older versions: the file's numbers say it."""
    user.accept("liver")
    user.accept("spleen")
    user.press("saveWork")
    user.press("nextCase")
    path = case_folder() / "nodes.json"
    path.unlink()
    if text is not None:
        path.write_text(text, encoding="utf-8")
    user.press("previousCase")
    assert accepted(user.volume) == [["liver"], ["spleen"]]
    assert {node.GetName() for node in find_results(user.volume)} == {"a segmentation"}
