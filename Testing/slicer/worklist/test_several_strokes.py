"""Two nodes of strokes on one CT of the work list: none is lost, and which one counts stays and is said."""

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.saved_case import case_facts, case_folder
from panel_helpers.scenes import add_ct, add_strokes, phantom
from PartialOrganSegPanel.finetune.tables import kind_text
from PartialOrganSegPanel.scene.scene_cases import CaseList
from PartialOrganSegPanel.scene.stroke_labelmap import NOT_DRAWN, draw_labelmap, scribble_labelmap
from PartialOrganSegPanel.scene.strokes import find_all_strokes, find_strokes, new_strokes, stroke_segments

from PartialOrganSegLib.organs import WORD16

LIVER, SPLEEN, KIDNEY = 1, 2, 3


def files():
    return sorted(path.name for path in case_folder().glob("strokes*.seg.nrrd"))


def drawn_to_learn_from():
    return case_facts()["drawn"]


def maps(volume):
    return [scribble_labelmap(node, volume) for node in find_all_strokes(volume)]


def stroke_nodes():
    return [node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if "strokes" in node.GetName()]


def reopen(user):
    user.press("nextCase")
    assert stroke_nodes() == []  # of a, with which they belong
    user.press("previousCase")


def same(found, *expected):
    return len(found) == len(expected) and all(map(np.array_equal, found, expected))


def test_both_come_back_and_the_latest_counts(user):
    drawn = [add_strokes(user.volume, organ) for organ in (LIVER, SPLEEN)]
    names = [node.GetName() for node in find_all_strokes(user.volume)]
    user.press("saveWork")
    assert user.said == (f"Saved. Only the latest strokes count, {names[1]}: those of {names[0]} are saved and come "
                         "back with the case, but nothing is learnt from them.")
    assert drawn_to_learn_from() == ["spleen"]
    reopen(user)
    assert same(maps(user.volume), *drawn)
    assert len({node.GetName() for node in find_all_strokes(user.volume)}) == 2
    user.press("saveWork")
    assert drawn_to_learn_from() == ["spleen"]
    assert files() == ["strokes.seg.nrrd", "strokes_2.seg.nrrd"]  # each keeps its own


def test_a_folder_of_an_older_version(user):
    """It has one file of strokes, and nothing that says which one counts."""
    drawn = add_strokes(user.volume, LIVER)
    user.press("saveWork")
    (case_folder() / "nodes.json").unlink()
    reopen(user)
    assert same(maps(user.volume), drawn)
    user.press("saveWork")
    assert user.said == "Saved."
    assert files() == ["strokes.seg.nrrd"]


def test_a_copied_node_gets_a_file_of_its_own(user):
    first = add_strokes(user.volume, LIVER)
    user.press("saveWork")
    original = find_strokes(user.volume)
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "strokes once more")
    copy.CopyContent(original)
    for name in original.GetAttributeNames():
        copy.SetAttribute(name, original.GetAttribute(name))
    copy.SetReferenceImageGeometryParameterFromVolumeNode(user.volume)
    second = np.where(first == LIVER, SPLEEN, first).astype(np.uint8)
    draw_labelmap(copy, user.volume, second)
    user.press("saveWork")
    assert files() == ["strokes.seg.nrrd", "strokes_2.seg.nrrd"]
    reopen(user)
    assert same(maps(user.volume), first, second)


def test_strokes_that_are_drawn_after_the_first_were_deleted_replace_nothing(user):
    first = add_strokes(user.volume, LIVER)
    user.press("saveWork")
    slicer.mrmlScene.RemoveNode(find_strokes(user.volume))
    second = add_strokes(user.volume, SPLEEN)
    user.press("saveWork")
    assert "kept as it was saved before: strokes.seg.nrrd" in user.said
    assert drawn_to_learn_from() == ["spleen"]
    reopen(user)
    assert same(maps(user.volume), first, second)


def test_what_counts_when_the_latest_was_deleted_counts_when_it_is_opened_again(user):
    first, second = add_strokes(user.volume, LIVER), add_strokes(user.volume, SPLEEN)
    user.press("saveWork")
    slicer.mrmlScene.RemoveNode(find_strokes(user.volume))
    user.press("saveWork")
    assert "kept as it was saved before: strokes_2.seg.nrrd" in user.said
    assert drawn_to_learn_from() == ["liver"]
    reopen(user)
    assert same(maps(user.volume), second, first)
    user.press("saveWork")
    assert drawn_to_learn_from() == ["liver"]


def test_strokes_of_this_ct_that_were_in_the_scene_before_it_was_opened(user):
    """They came first, so that those of the case count, as in the scene."""
    saved = add_strokes(user.volume, LIVER)
    user.press("nextCase")
    before = add_ct("loaded before", phantom(3)[0])
    loose = add_strokes(before, SPLEEN)
    slicer.mrmlScene.RemoveNode(before)
    user.press("previousCase")
    assert same(maps(user.volume), loose, saved)
    reopen(user)
    assert same(maps(user.volume), loose, saved)
    assert drawn_to_learn_from() == ["liver"]


def test_what_is_erased_is_learnt_from_no_more(user):
    """Also where other strokes, that never counted, were deleted in the scene."""
    add_strokes(user.volume, LIVER)
    add_strokes(user.volume, SPLEEN)
    user.press("saveWork")
    first, latest = find_all_strokes(user.volume)
    slicer.mrmlScene.RemoveNode(first)
    draw_labelmap(latest, user.volume, np.full(phantom()[1].shape, NOT_DRAWN, np.uint8))
    user.press("saveWork")
    assert not (case_folder() / "case.json").exists()
    assert user.cells(1)[0] == "new"


def test_the_latest_is_deleted_beside_an_empty_one(user):
    """What was learnt from stays, since the scene has nothing in its place."""
    new_strokes(user.volume, WORD16.organs)
    add_strokes(user.volume, SPLEEN)
    user.press("saveWork")
    slicer.mrmlScene.RemoveNode(find_strokes(user.volume))
    user.press("saveWork")
    assert drawn_to_learn_from() == ["spleen"]
    assert user.cells(1)[0] == "strokes"


def test_strokes_beside_others_that_stay_on_the_disk_are_on_the_list(user):
    new_strokes(user.volume, WORD16.organs)
    user.press("saveWork")
    assert user.cells(1)[0] == "new"
    slicer.mrmlScene.RemoveNode(find_strokes(user.volume))
    add_strokes(user.volume, SPLEEN)
    user.press("saveWork")
    assert user.cells(1)[0] == "strokes"


def test_what_another_window_saved_moves_aside_with_all_strokes(user):
    drawn = [add_strokes(user.volume, organ) for organ in (LIVER, SPLEEN)]
    user.press("saveWork")
    (case_folder() / "saved.txt").write_text("of another window", encoding="utf-8")
    user.services.dialogs.answers.append("keep")
    user.press("saveWork")
    assert sorted(path.name for path in (case_folder() / "earlier 1").glob("strokes*")) == [
        "strokes.seg.nrrd", "strokes_2.seg.nrrd"]
    reopen(user)
    assert same(maps(user.volume), *drawn)


def test_a_save_that_was_ended_half_way_leaves_the_new_strokes_as_the_latest(user):
    """Slicer ended after the files were moved and before it was noted which one counts."""
    drawn = [add_strokes(user.volume, organ) for organ in (LIVER, SPLEEN)]
    user.press("saveWork")
    noted = (case_folder() / "nodes.json").read_text(encoding="utf-8")
    drawn.append(add_strokes(user.volume, KIDNEY))
    user.press("nextCase")
    (case_folder() / "nodes.json").write_text(noted, encoding="utf-8")
    user.press("previousCase")
    assert same(maps(user.volume), *drawn)


@pytest.mark.parametrize("text", ["", "[", "3", '{"no such file": "", "strokes_2.seg.nrrd": 7}'])
def test_a_damaged_note_of_which_strokes_count(user, text):
    drawn = [add_strokes(user.volume, organ) for organ in (LIVER, SPLEEN)]
    user.press("saveWork")
    user.press("nextCase")
    (case_folder() / "nodes.json").write_text(text, encoding="utf-8")
    user.press("previousCase")
    assert same(maps(user.volume), *drawn)


def test_a_case_that_cannot_be_opened_takes_no_strokes_along(user):
    """Strokes on its CT that were in the scene before, and that nobody has saved."""
    add_strokes(user.volume, LIVER)
    user.press("nextCase")
    before = add_ct("loaded before", phantom(3)[0])
    add_strokes(before, SPLEEN)
    loose = find_strokes(before)
    slicer.mrmlScene.RemoveNode(before)
    (case_folder() / "strokes.seg.nrrd").write_bytes(b"")
    user.press("previousCase")
    assert "is damaged and was left alone" in user.said
    assert user.volume.GetName() == "b"
    assert slicer.mrmlScene.IsNodePresent(loose)


def test_a_stroke_in_a_segmentation_is_saved_once(user):
    node = user.accept("liver")
    drawn = add_strokes(user.volume, SPLEEN)
    strokes = find_strokes(user.volume)
    spleen = stroke_segments(strokes)["spleen"]
    node.GetSegmentation().CopySegmentFromSegmentation(strokes.GetSegmentation(), spleen)
    user.press("saveWork")
    user.press("saveWork")
    assert sorted(path.name for path in case_folder().glob("*.seg.nrrd")) == [
        "segmentation_1.seg.nrrd", "strokes.seg.nrrd"]
    reopen(user)
    assert same(maps(user.volume)[-1:], drawn)


# --- said

def test_teaching_says_which_strokes_do_not_count(user):
    add_strokes(user.volume, LIVER)
    add_strokes(user.volume, SPLEEN)
    case = CaseList().look(None)[0]
    assert kind_text(case, WORD16.names) == "strokes: spleen; not learnt from: a strokes"


def test_strokes_says_which_node_counts(user):
    ui = user.panel.section("Scribble").ui
    ui.scribbleCollapsible.collapsed = False
    add_strokes(user.volume, LIVER)
    user.panel.refresh()
    assert "count" not in ui.drawnLabel.text
    add_strokes(user.volume, SPLEEN)
    user.panel.refresh()
    assert ui.drawnLabel.text.endswith(
        "Only the latest strokes count, a strokes_1: those of a strokes are neither drawn in nor learnt from.")
    slicer.mrmlScene.RemoveNode(find_strokes(user.volume))
    user.panel.refresh()
    assert "count" not in ui.drawnLabel.text


def test_an_earlier_node_without_a_stroke_is_not_worth_a_word(user):
    new_strokes(user.volume, WORD16.organs)
    add_strokes(user.volume, SPLEEN)
    user.press("saveWork")
    assert user.said == "Saved."
    assert CaseList().look(None)[0].uncounted == ()
