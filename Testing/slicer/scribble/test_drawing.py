"""Section Scribble: strokes and their counts, undo, and the prediction below."""

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.scenes import add_result, ijk_to_ras, phantom
from panel_helpers.scribble_desk import LIVER, SPLEEN, TISSUE, Desk
from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, EDITED, PREDICTED, SCRIBBLED, set_state
from PartialOrganSegPanel.scene.segmentation_result import find_result
from PartialOrganSegPanel.scene.stroke_counts import axial_axis
from PartialOrganSegPanel.scene.stroke_labelmap import NOT_DRAWN, draw_labelmap
from PartialOrganSegPanel.scene.strokes import stroke_organs, stroke_segments
from PartialOrganSegPanel.scene.voxel_counts import labelmap
from PartialOrganSegPanel.scribble.editor import ERASE, PAINT

from PartialOrganSegLib.organs import WORD16


@pytest.fixture
def desk(make_panel, until):
    return Desk(make_panel, until)


@pytest.fixture
def segmented(make_panel, until):
    return Desk(make_panel, until, result=True)


# --- strokes

def test_nothing_is_made_before_the_first_stroke(desk, scene):
    assert desk.strokes is None
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert desk.ui.strokeTable.rowCount == 17
    assert not desk.button("paint").enabled
    assert "Select an organ" in desk.button("paint").toolTip
    assert desk.button("undo").toolTip == "Nothing is drawn yet."
    desk.choose("liver")
    assert desk.button("paint").enabled
    desk.button("paint").click()
    assert stroke_organs(desk.strokes) == WORD16.names
    assert list(stroke_segments(desk.strokes)) == [*WORD16.names, "background"]
    assert (desk.map == NOT_DRAWN).all()


def test_a_later_stroke_wins(desk):
    desk.stroke("liver", LIVER)
    desk.stroke("spleen", SPLEEN)
    desk.button("background").click()
    desk.draw(TISSUE)
    expected = np.full(phantom()[0].shape, NOT_DRAWN, np.uint8)
    expected[LIVER], expected[SPLEEN], expected[TISSUE] = 1, 2, 0
    assert np.array_equal(desk.map, expected)
    segments = [desk.strokes.GetSegmentation().GetSegment(segment_id)
                for segment_id in stroke_segments(desk.strokes).values()]
    assert len({labelmap(segment) for segment in segments} - {None}) == 1


def test_counts_and_cost(segmented):
    desk = segmented
    desk.stroke("liver", LIVER)
    desk.stroke("liver", np.s_[50, 20, 10:13])
    desk.stroke("background", TISSUE)
    assert desk.cells("liver")[:2] == ["2", "83"]
    assert desk.cells("background")[:2] == ["1", "4"]
    assert desk.cells("spleen") == ["", "", ""]
    assert "1 of 16 organs drawn on 3 slices, background on 1" in desk.ui.drawnLabel.text
    shape, dense = phantom()[0].shape, np.isin(phantom()[1], (1, 2, 5)).sum()
    shares = 87 / (3 * shape[1] * shape[2]), 87 / np.prod(shape), 87 / dense
    for share in shares:
        assert f"{100 * share:.2g} %" in desk.ui.costLabel.text


def test_voxels_on_the_slice_in_view(desk):
    desk.stroke("liver", LIVER)
    for k, text in ((41, ""), (40, "80")):
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *(ijk_to_ras(desk.volume) @ (10, 20, k, 1))[:3])
        assert desk.cells("liver")[2] == text


def test_erase_takes_every_organ(desk):
    desk.stroke("liver", LIVER)
    desk.stroke("spleen", SPLEEN)
    desk.button("erase").click()
    assert desk.section.editor.tool == ERASE
    assert not desk.button("paint").checked
    desk.draw(np.s_[40])
    assert (desk.map == NOT_DRAWN).all()
    assert desk.button("save").toolTip == "Nothing is drawn yet."


def test_erase_without_a_chosen_organ(desk):
    desk.stroke("liver", LIVER)
    desk.panel.parameters.scribble.organ = ""
    desk.button("erase").click()
    assert desk.section.editor.widget.currentSegmentID()
    desk.draw(np.s_[40])
    assert (desk.map == NOT_DRAWN).all()


def test_undo_of_a_stroke_and_of_clearing(desk):
    desk.stroke("liver", LIVER)
    desk.stroke("spleen", SPLEEN)
    drawn = desk.map
    desk.button("clear").click()
    assert 2 not in desk.map
    assert not desk.button("clear").enabled
    desk.button("undo").click()
    assert np.array_equal(desk.map, drawn)
    desk.button("undo").click()
    assert set(np.unique(desk.map)) == {1, NOT_DRAWN}
    assert (desk.map[LIVER] == 1).all()
    assert desk.cells("liver")[1] == "80"


def test_brush_is_in_mm_and_flat(desk):
    node = desk.section.editor.widget.mrmlSegmentEditorNode()
    desk.ui.brushSpinBox.value = 7.5
    assert float(node.GetAttribute("BrushAbsoluteDiameter")) == 7.5
    assert node.GetAttribute("BrushDiameterIsRelative") == node.GetAttribute("BrushSphere") == "0"
    node.SetAttribute("BrushAbsoluteDiameter", "3")  # as turning the wheel in a view does
    node.InvokeEvent(node.EffectParameterModified)
    assert desk.panel.parameters.scribble.brushMm == desk.ui.brushSpinBox.value == 3.0


def test_background_and_back_to_the_organ(desk):
    desk.choose("spleen")
    desk.button("background").click()
    assert desk.panel.parameters.scribble.organ == "background"
    assert desk.button("background").checked
    assert desk.section.editor.tool == PAINT
    desk.button("background").click()
    assert desk.panel.parameters.scribble.organ == "spleen"


def test_overlapping_segments_of_another_editor_are_merged(desk):
    desk.stroke("liver", LIVER)
    segments = stroke_segments(desk.strokes)
    spleen = np.zeros(phantom()[0].shape, np.uint8)
    spleen[SPLEEN] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(spleen, desk.strokes, segments["spleen"], desk.volume)
    desk.until(lambda: desk.cells("spleen")[1] == "16", 10)
    assert int(desk.cells("liver")[1]) == (desk.map == 1).sum() == 76
    assert desk.strokes.GetSegmentation().GetNumberOfLayers() == 1


# --- the prediction

def test_strokes_are_kept_apart_and_mark_the_organ(segmented):
    desk = segmented
    before = {organ: slicer.util.arrayFromSegmentBinaryLabelmap(desk.result, organ, desk.volume).sum()
              for organ in ("liver", "spleen", "stomach")}
    set_state(desk.result, "spleen", ACCEPTED)
    set_state(desk.result, "stomach", EDITED)
    for organ, where in (("liver", LIVER), ("spleen", SPLEEN), ("stomach", TISSUE)):
        desk.stroke(organ, where)
    assert [desk.state(organ) for organ in before] == [SCRIBBLED, ACCEPTED, SCRIBBLED]
    assert {organ: slicer.util.arrayFromSegmentBinaryLabelmap(desk.result, organ, desk.volume).sum()
            for organ in before} == before
    assert find_result(desk.volume) is desk.result
    desk.choose("liver")
    desk.button("clear").click()
    assert desk.state("liver") == PREDICTED
    slicer.mrmlScene.RemoveNode(desk.strokes)
    assert desk.state("stomach") == PREDICTED
    assert desk.state("spleen") == ACCEPTED


def test_a_new_prediction_knows_of_the_strokes(desk):
    desk.stroke("liver", LIVER)
    assert desk.ui.costLabel.text.count("%") == 2
    desk.result = add_result(desk.volume, ("liver", "spleen"))
    desk.panel.parameters.segmentation = desk.result
    assert (desk.state("liver"), desk.state("spleen")) == (SCRIBBLED, PREDICTED)
    assert desk.ui.costLabel.text.count("%") == 3


def test_next_organ_without_a_stroke_jumps_there(segmented):
    desk = segmented
    set_state(desk.result, "spleen", ACCEPTED)
    desk.stroke("liver", LIVER)
    desk.button("next").click()
    assert desk.panel.parameters.scribble.organ == "left_kidney"  # the spleen is a label already
    desk.choose("right_kidney")
    desk.button("next").click()
    assert desk.panel.parameters.scribble.organ == "stomach"
    axis = 2 - axial_axis(desk.volume)
    assert np.take(phantom()[1] == 5, desk.section._slice, axis).any()


def test_no_organ_is_left_to_draw(desk):
    desk.choose("liver")
    desk.button("paint").click()
    everything = np.full(phantom()[0].shape, NOT_DRAWN, np.uint8)
    everything[0, 0, :17] = np.arange(17)
    draw_labelmap(desk.strokes, desk.volume, everything)
    desk.until(lambda: not desk.button("next").enabled, 10)
    assert "Every organ has a stroke" in desk.button("next").toolTip


def test_prediction_is_dim_only_while_the_section_is_open(segmented):
    desk, display = segmented, segmented.result.GetDisplayNode()
    desk.panel.exit()
    display.SetOpacity2DFill(0.6)
    desk.panel.enter()
    assert display.GetOpacity2DFill() == pytest.approx(0.18)
    desk.ui.dimBox.checked = False
    assert display.GetOpacity2DFill() == 0.6
    desk.ui.dimBox.checked = True
    desk.ui.scribbleCollapsible.collapsed = True
    assert display.GetOpacity2DFill() == 0.6
    desk.ui.scribbleCollapsible.collapsed = False
    assert display.GetOpacity2DFill() == pytest.approx(0.18)
    desk.panel.cleanup()
    assert display.GetOpacity2DFill() == 0.6
    assert display.GetOpacity2DOutline() == 1.0


def test_only_one_editor_works_at_a_time(segmented):
    desk = segmented
    review = desk.panel.section("Review").editor
    review.setActiveEffectByName("Scissors")
    desk.choose("liver")
    desk.button("paint").click()
    assert not review.mrmlSegmentEditorNode().GetActiveEffectName()
    assert desk.section.editor.tool == PAINT
    review.setActiveEffectByName("Scissors")
    assert desk.section.editor.tool == ""
    assert not desk.button("paint").checked
