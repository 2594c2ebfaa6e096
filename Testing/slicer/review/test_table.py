"""Section Review: its table shows organs, checks and states, and follows the selection."""

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from panel_helpers.pictures import colours, picture_of
from panel_helpers.review_desk import Desk, remove_half, truth
from PartialOrganSegPanel.scene.organ_rows import mark_predicted, rows
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
    assert desk.ui.messageLabel.text == "Organs written to review.csv: 16."
