"""Section Review: states, edits, undo, the prediction, and what comes back after saving."""

import os
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from doubles import Doubles
from PartialOrganSegPanel.review_logic import accepted_organs
from PartialOrganSegPanel.review_prediction import ROLE, predicted_segment, prediction_node
from PartialOrganSegPanel.segment_table import ABSENT, ACCEPTED, EDITED, PREDICTED, row, rows, set_state
from pictures import picture_of
from PIL import Image
from scenes import add_ct, add_result, label_array, phantom

ORGANS = ("liver", "spleen", "stomach")


class Desk:
    """The panel with a segmented CT, and a user's hands."""

    def __init__(self, make_panel, until, organs=ORGANS, folder=None):
        self.services = Doubles(folder=folder)
        self.panel = make_panel(self.services)
        self.section = self.panel.section("Review")
        self.ui = self.section.ui
        self.until = until
        self.volume = add_ct()
        self.node = add_result(self.volume, organs)
        self.panel.parameters.inputVolume = self.volume
        self.panel.parameters.segmentation = self.node
        self.panel.enter()

    def row(self, organ, node=None):
        return row(node or self.node, organ)

    def cell(self, organ, column):
        index = next(index for index, one in enumerate(rows(self.panel.parameters.segmentation)) if one.organ == organ)
        return self.ui.organTable.item(index, column).text()

    def record(self, organ):
        return self.section._review.record(self.row(organ, self.panel.parameters.segmentation).segment_id)

    def select(self, organ):
        index = next(index for index, one in enumerate(rows(self.panel.parameters.segmentation)) if one.organ == organ)
        self.ui.organTable.setCurrentCell(index, 0)

    def draw(self, organ, change):
        """Gives the organ the voxels of `change(array)`; undoable, as an effect of the segment editor."""
        array = label_array(self.node, self.volume, organ).astype(np.uint8)
        self.section.editor.saveStateForUndo()
        slicer.util.updateSegmentBinaryLabelmapFromArray(change(array), self.node, self.row(organ).segment_id,
                                                         self.volume)

    def edit(self, organ, change=None):
        """As `draw`, and waits until the panel has noticed."""
        before = self.record(organ)
        self.draw(organ, change or add_box)
        self.until(lambda: self.record(organ) != before, 10)

    def array(self, organ):
        return label_array(self.node, self.volume, organ)


def add_box(array):
    """The organ with a box of 4 x 4 x 4 voxels in the corner of the CT."""
    array[2:6, 2:6, 2:6] = 1
    return array


def remove_half(array):
    """The organ without its lower half of slices."""
    filled = np.flatnonzero(array.any(axis=(1, 2)))
    array[:filled[len(filled) // 2]] = 0
    return array


def truth(organ):
    """The phantom's voxels of an organ, which the prediction has."""
    return phantom()[1] == {"liver": 1, "spleen": 2, "stomach": 5}[organ]


@pytest.fixture
def desk(make_panel, until):
    return Desk(make_panel, until)


# --- the table

def test_table_shows_organs_as_predicted(desk):
    assert desk.ui.organTable.rowCount == len(rows(desk.node)) == 3
    assert [desk.cell("liver", column) for column in range(4)] == [
        "liver", f"{np.count_nonzero(truth('liver')) / 8:.0f}", "touches the image border: may be cut off", "predicted"]
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
    assert desk.ui.organTable.currentRow() == [one.organ for one in rows(desk.node)].index("stomach")


# --- edits

def test_edit_makes_edited_and_counts(desk):
    desk.edit("liver")
    desk.edit("liver", remove_half)
    record, now = desk.record("liver"), desk.array("liver")
    assert desk.row("liver").state == EDITED
    assert record.predicted == np.count_nonzero(truth("liver"))
    assert record.voxels == np.count_nonzero(now)
    assert record.added == np.count_nonzero(now & ~truth("liver"))
    assert record.removed == np.count_nonzero(~now & truth("liver"))
    assert record.removed > 100
    both = np.count_nonzero(now & truth("liver"))
    assert record.dice == pytest.approx(2 * both / (np.count_nonzero(now) + np.count_nonzero(truth("liver"))))
    assert desk.cell("liver", 1) == f"{np.count_nonzero(now) / 8:.0f}"
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
    from PartialOrganSegPanel.review_counts import voxel_array

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
    shortcuts = desk.section._shortcuts
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


def test_reads_well_in_a_narrow_panel(make_panel, until, tmp_path):
    folder = Path(os.environ.get("PARTIALORGANSEG_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
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
    assert len(np.unique(np.asarray(Image.open(folder / "review.png").convert("RGB")).reshape(-1, 3), axis=0)) > 50
    assert window.width == 400
    assert (tmp_path / "review.csv").is_file()
    assert "16 organs" in desk.ui.messageLabel.text


# --- the scene

def test_another_segmentation_and_back(desk):
    desk.edit("liver")
    other = add_result(add_ct("second CT"), ("liver", "bladder"))
    desk.panel.parameters.segmentation = other
    assert desk.ui.organTable.rowCount == 2
    desk.select("liver")
    desk.ui.acceptButton.click()
    assert (desk.row("liver", other).state, desk.row("liver").state) == (ACCEPTED, EDITED)
    desk.panel.parameters.segmentation = desk.node
    assert desk.cell("liver", 3) == "edited"
    desk.select("liver")
    desk.ui.backButton.click()
    assert np.array_equal(desk.array("liver"), truth("liver"))
    assert desk.row("liver", other).state == ACCEPTED


def test_segment_renamed_or_deleted(desk):
    desk.select("spleen")
    segments = desk.node.GetSegmentation()
    segments.GetSegment(desk.row("spleen").segment_id).SetName("Milz")
    desk.until(lambda: desk.cell("spleen", 0) == "Milz", 10)
    segments.RemoveSegment(desk.row("spleen").segment_id)
    desk.until(lambda: desk.ui.organTable.rowCount == 2, 10)
    desk.select("liver")
    desk.ui.acceptButton.click()
    assert accepted_organs(desk.node) == ["liver"]


def test_segmentation_deleted_takes_the_prediction_along(desk, scene):
    assert prediction_node(desk.node).GetHideFromEditors()
    scene.RemoveNode(desk.node)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert desk.ui.organTable.rowCount == 0
    assert not desk.ui.acceptButton.enabled


def test_segmentation_of_another_tool_is_said(desk):
    foreign = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    foreign.GetSegmentation().AddEmptySegment("liver", "liver")
    desk.panel.parameters.segmentation = foreign
    assert "by hand was not made by PartialOrganSeg" in desk.ui.progressLabel.text
    assert not desk.ui.acceptButton.enabled
    assert foreign.GetNodeReferenceID(ROLE) is None


def test_new_prediction_starts_anew(desk):
    """A second run removes a segment and adds one of the same ID."""
    desk.select("liver")
    desk.edit("liver")
    from PartialOrganSegPanel.segment_table import mark_predicted

    segments = desk.node.GetSegmentation()
    segment = slicer.vtkSegment()
    segment.SetName("liver")
    segments.RemoveSegment("liver")
    segments.AddSegment(segment, "liver")
    shifted = np.roll(truth("liver"), 1, axis=2)
    slicer.util.updateSegmentBinaryLabelmapFromArray(shifted.astype(np.uint8), desk.node, "liver", desk.volume)
    mark_predicted(segment, "liver", {"organ": "liver"})
    desk.until(lambda: desk.record("liver") is not None, 10)
    assert desk.row("liver").state == PREDICTED
    assert desk.record("liver").predicted == np.count_nonzero(shifted)
    assert desk.record("liver").added == 0


# --- saving

def test_survives_mrb(desk, make_panel, tmp_path, scene):
    desk.select("liver")
    desk.edit("liver")
    desk.ui.acceptButton.click()
    desk.select("spleen")
    desk.ui.absentButton.click()
    desk.edit("stomach", remove_half)
    records = {organ: desk.record(organ) for organ in ORGANS}
    path = tmp_path / "gepr\N{LATIN SMALL LETTER U WITH DIAERESIS}ft.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    assert desk.ui.organTable.rowCount == 0
    slicer.util.loadScene(str(path))
    node = desk.node = desk.panel.parameters.segmentation
    desk.volume = desk.panel.parameters.inputVolume
    assert [one.state for one in rows(node)] == [ACCEPTED, ABSENT, EDITED]
    for organ in ORGANS:
        record = desk.record(organ)
        assert (record.predicted, record.added, record.removed) == (
            records[organ].predicted, records[organ].added, records[organ].removed)
        assert record.seconds == pytest.approx(records[organ].seconds, abs=1)
    desk.select("spleen")
    desk.ui.backButton.click()
    assert np.array_equal(desk.array("spleen"), truth("spleen"))


def test_survives_seg_nrrd(desk, tmp_path):
    desk.select("liver")
    desk.edit("liver")
    desk.ui.acceptButton.click()
    desk.edit("spleen")
    records = {organ: desk.record(organ) for organ in ORGANS}
    path = tmp_path / "reviewed.seg.nrrd"
    assert slicer.util.saveNode(desk.node, str(path))
    slicer.mrmlScene.Clear(0)
    node = desk.node = slicer.util.loadSegmentation(str(path))
    desk.volume = add_ct()
    desk.panel.parameters.segmentation = node
    assert {one.organ: one.state for one in rows(node)} == {"liver": ACCEPTED, "spleen": EDITED, "stomach": PREDICTED}
    assert {organ: (desk.record(organ).added, desk.record(organ).removed) for organ in ORGANS} == {
        organ: (records[organ].added, records[organ].removed) for organ in ORGANS}
    desk.select("spleen")
    assert "prediction was not kept" in desk.ui.backButton.toolTip
    desk.edit("spleen", remove_half)
    assert desk.record("spleen").added is None
    assert "changes unknown" in desk.ui.organLabel.text
    assert predicted_segment(node, desk.row("stomach").segment_id) is not None  # it is still as it was predicted


def test_states_of_other_sections_stay(desk):
    set_state(desk.node, desk.row("liver").segment_id, "scribbled")
    desk.until(lambda: desk.cell("liver", 3) == "scribbled", 10)
    desk.edit("spleen")
    assert desk.row("liver").state == "scribbled"
