"""Section Review: edits, decisions and undo."""

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.doubles import Doubles
from panel_helpers.review_desk import Desk, remove_half, truth
from PartialOrganSegPanel.scene.organ_rows import (
    ABSENT,
    ACCEPTED,
    EDITED,
    PREDICTED,
    accepted_organs,
    rows,
)


@pytest.fixture
def desk(make_panel, until):
    return Desk(make_panel, until)


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
    assert not desk.ui.undoButton.enabled
    assert desk.ui.undoButton.toolTip == "There is nothing to take back."
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
    assert not desk.ui.undoButton.enabled


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
