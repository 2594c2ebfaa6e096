"""Section Review: the table, edits, decisions and undo."""


import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from panel_helpers.doubles import Doubles
from panel_helpers.pictures import colours, picture_of
from panel_helpers.review_desk import Desk, remove_half, truth
from PartialOrganSegPanel.scene.organ_rows import (
    ABSENT,
    ACCEPTED,
    EDITED,
    PREDICTED,
    accepted_organs,
    mark_predicted,
    rows,
)
from PartialOrganSegPanel.shell.check_text import check_text, read_checks, short_check

from PartialOrganSegLib.segmenting.check_kinds import CheckKind, OrganCheck


@pytest.fixture
def desk(make_panel, until):
    return Desk(make_panel, until)


# --- the table

def test_table_shows_organs_as_predicted(desk):
    assert desk.ui.organTable.rowCount == len(rows(desk.node)) == 3
    assert [desk.cell("liver", column) for column in range(4)] == [
        "liver", f"{np.count_nonzero(truth('liver')) / 8:.0f}", "at the border", "predicted"]
    assert desk.ui.organTable.item(0, 2).toolTip() == "touches the image border: may be cut off"
    assert desk.record("liver").added == desk.record("liver").removed == 0
    assert "0 of 3" in desk.ui.progressLabel.text


def test_selecting_a_row_selects_the_segment_and_jumps(desk):
    for organ in ("spleen", "liver"):
        desk.select(organ)
        assert desk.section.editor.currentSegmentID() == desk.row(organ).segment_id
        to_ijk = vtk.vtkMatrix4x4()
        desk.volume.GetRASToIJKMatrix(to_ijk)
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            to_ras = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
            corners = slicer.util.arrayFromVTKMatrix(to_ijk) @ to_ras
            axis = int(np.abs(corners[:3, 2]).argmax())  # the plane's normal, of i, j, k
            slab = np.take(truth(organ), round(corners[axis, 3]), axis=2 - axis)
            assert slab.any(), node.GetName()


def test_selecting_in_the_editor_selects_the_row(desk):
    desk.section.editor.setCurrentSegmentID(desk.row("stomach").segment_id)
    assert desk.ui.organTable.currentRow() == [listed.organ for listed in rows(desk.node)].index("stomach")


@pytest.mark.parametrize(("check", "short"), [
    (OrganCheck(CheckKind.TOUCHES_BORDER, "liver"), "at the border"),
    (OrganCheck(CheckKind.NOT_FOUND, "liver"), "not found"),
    (OrganCheck(CheckKind.VERY_LARGE, "liver", 300, 100, 200), "very large"),
    (OrganCheck(CheckKind.SEPARATE_PARTS, "liver", 3, 1, 1), "3 separate parts"),
    (OrganCheck(CheckKind.STRAY_COMPONENT, "colon", 3.2, 0, 1, "in_lung"), "stray part"),
    (OrganCheck(CheckKind.SIDE_SWAPPED, "right_kidney", detail="left_kidney"), "sides swapped?"),
    (OrganCheck(CheckKind.UNCERTAIN, "liver", 0.8, 0, 0.7), "uncertain")])
def test_checks_are_short_in_the_table(check, short):
    assert short_check(check) == short


@pytest.mark.parametrize("kind", CheckKind)
def test_checks_read_in_full_as_the_command_prints_them(kind):
    check = OrganCheck(kind, "right_kidney", 30.25, 10, 20,
                       "in_lung" if kind is CheckKind.STRAY_COMPONENT else "left_kidney")
    assert check_text(check) == check.text()
    assert read_checks([check.as_event(), check.as_event() | {"kind": "of next year"}]) == (check,)


def test_a_result_of_an_older_version_shows_what_it_noted(desk):
    segment = desk.node.GetSegmentation().GetSegment(desk.row("liver").segment_id)
    mark_predicted(segment, "liver", {"organ": "liver", "volume_ml": 1.0, "checks": "large: 3 ml; 2 separate parts"})
    assert desk.row("liver").checks == ()
    assert desk.row("liver").noted == "large: 3 ml; 2 separate parts"
    desk.section.refresh()
    assert desk.cell("liver", 2) == "large: 3 ml; 2 separate parts"


# --- edits

def test_edit_makes_edited_and_counts(desk):
    desk.edit("liver")
    desk.edit("liver", remove_half)
    record, edited = desk.record("liver"), desk.array("liver")
    assert desk.row("liver").state == EDITED
    assert record.predicted == np.count_nonzero(truth("liver"))
    assert record.voxels == np.count_nonzero(edited)
    assert record.added == np.count_nonzero(edited & ~truth("liver"))
    assert record.removed == np.count_nonzero(~edited & truth("liver"))
    assert record.removed > 100
    unchanged = np.count_nonzero(edited & truth("liver"))
    assert record.dice == pytest.approx(2 * unchanged / (np.count_nonzero(edited) + np.count_nonzero(truth("liver"))))
    assert desk.cell("liver", 1) == f"{np.count_nonzero(edited) / 8:.0f}"
    assert desk.cell("liver", 3) == "edited"
    assert desk.row("spleen").state == desk.row("stomach").state == PREDICTED


def test_same_number_of_voxels_elsewhere_is_an_edit(desk):
    desk.select("spleen")
    desk.ui.acceptButton.click()
    desk.edit("spleen", lambda array: np.roll(array, 1, axis=2))
    assert desk.record("spleen").voxels == desk.record("spleen").predicted
    assert desk.row("spleen").state == EDITED


def test_drawing_over_a_neighbour_edits_both(desk):
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    logic.SetSegmentEditorNode(desk.section.editor.mrmlSegmentEditorNode())
    desk.select("stomach")
    logic.UpdateReferenceGeometryImage()
    logic.ResetModifierLabelmapToDefault()
    brush = logic.GetModifierLabelmap()
    from PartialOrganSegPanel.scene.voxel_counts import voxel_array

    where = np.argwhere(truth("liver"))[:20]
    voxel_array(brush)[tuple(where.T)] = 1
    brush.Modified()
    logic.ModifySegmentByLabelmap(desk.node, desk.row("stomach").segment_id, brush, logic.ModificationModeAdd, False,
                                  False)
    desk.until(lambda: desk.row("liver").state == EDITED, 10)
    assert desk.row("stomach").state == EDITED
    assert (desk.record("liver").removed, desk.record("stomach").added) == (20, 20)
    desk.select("liver")
    desk.ui.backButton.click()
    assert desk.row("liver").state == EDITED
    assert desk.record("liver").removed == 20
    assert desk.record("stomach").added == 20
    assert "stomach 20" in desk.ui.messageLabel.text


def test_editing_an_accepted_organ_takes_the_acceptance_back(desk):
    desk.select("liver")
    desk.ui.acceptButton.click()
    assert accepted_organs(desk.node) == ["liver"]
    desk.edit("liver")
    assert accepted_organs(desk.node) == []


def test_edit_while_the_module_is_closed_counts_without_time(desk):
    desk.panel.exit()
    desk.edit("liver")
    assert desk.row("liver").state == EDITED
    assert desk.record("liver").seconds == pytest.approx(0, abs=0.2)


# --- decisions

def test_accept_goes_on_to_the_next_organ(desk):
    desk.select("liver")
    desk.ui.acceptButton.click()
    assert desk.row("liver").state == ACCEPTED
    assert desk.section.editor.currentSegmentID() == rows(desk.node)[1].segment_id
    desk.panel.parameters.review.advance = False
    desk.ui.acceptButton.click()
    assert desk.section.editor.currentSegmentID() == rows(desk.node)[1].segment_id
    assert "2 of 3" in desk.ui.progressLabel.text
    desk.ui.nextButton.click()
    desk.ui.acceptButton.click()
    assert not desk.ui.nextButton.enabled
    assert "All organs" in desk.ui.nextButton.toolTip


def test_absent_empties_and_undo_brings_back(desk):
    desk.panel.parameters.review.advance = False
    desk.select("spleen")
    desk.ui.absentButton.click()
    assert desk.row("spleen").state == ABSENT
    assert not desk.array("spleen").any()
    assert desk.record("spleen").removed == np.count_nonzero(truth("spleen"))
    assert accepted_organs(desk.node) == ["spleen"]
    assert "no voxel" in desk.ui.acceptButton.toolTip
    desk.ui.undoButton.click()
    assert desk.row("spleen").state == PREDICTED
    assert np.array_equal(desk.array("spleen"), truth("spleen"))
    assert desk.record("spleen").removed == 0


def test_undo_of_edit_and_of_acceptance(desk):
    desk.panel.parameters.review.advance = False
    desk.select("liver")
    desk.edit("liver")
    desk.ui.acceptButton.click()
    desk.ui.undoButton.click()
    assert desk.row("liver").state == EDITED
    desk.ui.undoButton.click()
    assert desk.row("liver").state == PREDICTED
    assert np.array_equal(desk.array("liver"), truth("liver"))
    desk.section.editor.redo()
    desk.until(lambda: desk.cell("liver", 3) == "edited", 10)
    assert desk.record("liver").added == 64


def test_back_to_predicted(desk):
    desk.select("stomach")
    desk.edit("stomach", remove_half)
    assert desk.ui.backButton.enabled
    desk.ui.backButton.click()
    assert desk.row("stomach").state == PREDICTED
    assert np.array_equal(desk.array("stomach"), truth("stomach"))
    assert "as it was predicted" in desk.ui.backButton.toolTip


def test_every_button_says_why_it_cannot(make_panel, scene):
    ui = make_panel(Doubles()).section("Review").ui
    for name in ("accept", "absent", "back", "undo", "next", "table", "case"):
        button = getattr(ui, f"{name}Button")
        assert not button.enabled
        assert button.toolTip == "There is nothing to review."
    assert "section Segment" in ui.progressLabel.text


def test_case_wants_an_accepted_organ_and_the_ct(desk):
    assert desk.ui.caseButton.toolTip == "Accept an organ first."
    desk.ui.acceptButton.click()
    assert desk.ui.caseButton.enabled
    slicer.mrmlScene.RemoveNode(desk.volume)
    assert "not in the scene" in desk.ui.caseButton.toolTip


def test_shortcuts_only_while_the_module_is_open(desk):
    shortcuts = desk.section._keys.shortcuts
    assert all(shortcut.enabled for shortcut in shortcuts)
    tips = [getattr(desk.ui, f"{name}Button").toolTip for name in ("accept", "absent", "next", "undo")]
    keys = [shortcut.key.toString() for shortcut in shortcuts]
    assert all(any(f"({key})" in tip for key in keys) for tip in tips)
    desk.panel.exit()
    assert not any(shortcut.enabled for shortcut in shortcuts)
    desk.panel.enter()
    desk.select("liver")
    next(shortcut for shortcut in shortcuts if shortcut.key.toString() == "Shift+A").activated.emit()
    assert desk.row("liver").state == ACCEPTED


def editor_keys(desk):
    """Whether keys of the segment editor of section Review act now."""
    shortcuts = getattr(desk.section.editor, "_keys", None)
    if shortcuts is None:  # in a real Slicer they cannot be seen
        return desk.section._editor_keys
    return any(shortcut.enabled for shortcut in shortcuts)


def test_no_key_acts_while_the_section_is_folded(desk):
    desk.select("liver")
    desk.ui.reviewCollapsible.collapsed = True
    assert not any(shortcut.enabled for shortcut in desk.section._keys.shortcuts)
    assert not editor_keys(desk)
    desk.panel.exit()
    desk.panel.enter()
    assert not any(shortcut.enabled for shortcut in desk.section._keys.shortcuts)
    desk.ui.reviewCollapsible.collapsed = False
    assert all(shortcut.enabled for shortcut in desk.section._keys.shortcuts)
    assert editor_keys(desk)


def test_keys_of_the_editor_do_not_act_while_scribbling(desk):
    scribble = desk.panel.section("Scribble").ui
    scribble.scribbleCollapsible.collapsed = False
    desk.panel.parameters.scribble.organ = "liver"
    assert editor_keys(desk)
    scribble.paintStrokesButton.click()
    assert not editor_keys(desk)
    scribble.paintStrokesButton.click()
    assert editor_keys(desk)
    scribble.paintStrokesButton.click()
    desk.section.editor.setActiveEffectByName("Paint")  # ends the scribbling
    assert editor_keys(desk)


def test_reads_well_in_a_narrow_panel(make_panel, until, tmp_path, folder):
    desk = Desk(make_panel, until, organs=None, folder=tmp_path)
    desk.panel.section("Segment").ui.segmentCollapsible.collapsed = True
    for _ in range(3):
        desk.ui.acceptButton.click()
    desk.ui.absentButton.click()
    desk.select("stomach")
    desk.edit("stomach", remove_half)
    desk.ui.tableButton.click()
    window = desk.section.widget.window()
    picture_of(window, folder / "review.png")
    assert colours(folder / "review.png") > 50
    assert window.width == 400
    assert (tmp_path / "review.csv").is_file()
    assert "16 organs" in desk.ui.messageLabel.text


def test_a_large_ct_is_looked_at_in_pieces(make_panel, until, monkeypatch):
    """What is counted, kept and shown in the end is the same as of a small one, which is looked at at once."""
    from PartialOrganSegPanel.review import looking
    from PartialOrganSegPanel.review.prediction import predicted_segment
    from PartialOrganSegPanel.scene import voxel_counts

    monkeypatch.setattr(voxel_counts, "SMALL", 0)
    monkeypatch.setattr(looking, "LOOK_S", 0.0)
    desk = Desk(make_panel, until)
    assert desk.record("stomach") is None
    until(lambda: not desk.section.looking.active, 20)
    for organ in ("liver", "spleen", "stomach"):
        assert desk.record(organ).voxels == np.count_nonzero(truth(organ))
        prediction = voxel_counts.labelmap(predicted_segment(desk.node, desk.row(organ).segment_id))
        where = np.nonzero(truth(organ))
        # No more than the organ's box is kept.
        assert prediction.GetDimensions()[::-1] == tuple(np.ptp(axis) + 1 for axis in where)
    desk.edit("liver")
    until(lambda: not desk.section.looking.active, 20)
    assert (desk.row("liver").state, desk.record("liver").added) == (EDITED, 64)
    desk.ui.backButton.click()
    until(lambda: not desk.section.looking.active, 20)
    assert np.array_equal(desk.array("liver"), truth("liver"))
    assert desk.row("liver").state == PREDICTED


# --- only this organ, and the keys

def shown(desk):
    """Organs that are displayed."""
    display = desk.node.GetDisplayNode()
    return {listed.organ for listed in rows(desk.node) if display.GetSegmentVisibility(listed.segment_id)}


def test_only_this_organ_follows_the_selection_and_brings_back_what_was_shown(desk):
    desk.select("liver")
    desk.node.GetDisplayNode().SetSegmentVisibility(desk.row("stomach").segment_id, False)
    desk.ui.onlyButton.click()
    assert shown(desk) == {"liver"}
    assert desk.ui.onlyButton.checked
    desk.select("spleen")
    assert shown(desk) == {"spleen"}
    desk.ui.acceptButton.click()  # goes on to the next organ
    assert shown(desk) == {desk.section._review.row(desk.section._current).organ} == {"stomach"}
    desk.ui.onlyButton.click()
    assert shown(desk) == {"liver", "spleen"}
    assert not desk.ui.onlyButton.checked


def test_another_segmentation_leaves_no_organ_hidden(desk):
    desk.select("liver")
    desk.ui.onlyButton.click()
    desk.panel.parameters.segmentation = None
    assert shown(desk) == {"liver", "spleen", "stomach"}


def test_the_page_of_keys_has_every_key_of_the_panel(desk):
    desk.ui.keysButton.click()
    page = desk.services.dialogs.logs[-1]
    shortcuts = [*desk.section._keys.shortcuts, *desk.panel.section("Scribble")._shortcuts]
    keys = [shortcut.key.toString() for shortcut in shortcuts]
    assert len(keys) == len(set(keys)) == 11
    assert all(key in page for key in keys)
