"""Section Review: segmentations that come and go, and what comes back after saving."""

import contextlib

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.doubles import Doubles
from panel_helpers.review_desk import ORGANS, Desk, remove_half, truth
from panel_helpers.scenes import add_ct, add_result, phantom
from PartialOrganSegPanel.review.prediction import ROLE, predicted_segment, prediction_node
from PartialOrganSegPanel.scene.organ_rows import ABSENT, ACCEPTED, EDITED, PREDICTED, accepted_organs, rows, set_state


@pytest.fixture
def desk(make_panel, until):
    return Desk(make_panel, until)


# --- the scene

def test_another_segmentation_and_back(desk):
    desk.edit("liver")
    second = add_result(add_ct("second CT"), ("liver", "bladder"))
    desk.panel.parameters.segmentation = second
    assert desk.ui.organTable.rowCount == 2
    desk.select("liver")
    desk.ui.acceptButton.click()
    assert (desk.row("liver", second).state, desk.row("liver").state) == (ACCEPTED, EDITED)
    desk.panel.parameters.segmentation = desk.node
    assert desk.cell("liver", 3) == "edited"
    desk.select("liver")
    desk.ui.backButton.click()
    assert np.array_equal(desk.array("liver"), truth("liver"))
    assert desk.row("liver", second).state == ACCEPTED


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


@contextlib.contextmanager
def deletion_of_a_study(scene):
    """Nodes go in one batch, as when a study is deleted in the module Data."""
    scene.StartState(scene.BatchProcessState)
    yield
    scene.EndState(scene.BatchProcessState)


@pytest.mark.parametrize("how", [contextlib.nullcontext, deletion_of_a_study])
def test_segmentation_deleted_takes_the_prediction_along(desk, scene, how):
    assert prediction_node(desk.node).GetHideFromEditors()
    with how(scene):
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
    from PartialOrganSegPanel.scene.organ_rows import mark_predicted

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


def test_unfolds_when_there_is_something_to_review(make_panel, scene):
    panel = make_panel(Doubles())
    ui = panel.section("Review").ui
    assert ui.reviewCollapsible.collapsed
    assert not panel.section("Segment").ui.segmentCollapsible.collapsed
    panel.parameters.segmentation = add_result(add_ct(), ("liver",))
    assert not ui.reviewCollapsible.collapsed
    ui.reviewCollapsible.collapsed = True
    panel.parameters.segmentation = add_result(add_ct("second"), ("liver",))
    assert ui.reviewCollapsible.collapsed  # as the user wants it
    scene.Clear(0)
    panel.parameters.segmentation = add_result(add_ct(), ("liver",))
    assert not ui.reviewCollapsible.collapsed


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
    assert [listed.state for listed in rows(node)] == [ACCEPTED, ABSENT, EDITED]
    for organ in ORGANS:
        record = desk.record(organ)
        assert (record.predicted, record.added, record.removed) == (
            records[organ].predicted, records[organ].added, records[organ].removed)
        assert record.seconds == pytest.approx(records[organ].seconds, abs=1)
    desk.select("spleen")
    desk.ui.backButton.click()
    assert np.array_equal(desk.array("spleen"), truth("spleen"))


def test_a_scene_that_was_saved_with_one_organ_alone_shows_what_was_shown_before(desk, tmp_path):
    desk.node.GetDisplayNode().SetSegmentVisibility(desk.row("spleen").segment_id, False)  # the user's own wish
    desk.select("stomach")
    desk.ui.onlyButton.click()
    path = tmp_path / "one organ.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(path))
    node = desk.panel.parameters.segmentation
    display = node.GetDisplayNode()
    assert [bool(display.GetSegmentVisibility(listed.segment_id)) for listed in rows(node)] == [True, False, True]
    assert not desk.ui.onlyButton.checked


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
    states = {listed.organ: listed.state for listed in rows(node)}
    assert states == {"liver": ACCEPTED, "spleen": EDITED, "stomach": PREDICTED}
    assert {organ: (desk.record(organ).added, desk.record(organ).removed) for organ in ORGANS} == {
        organ: (records[organ].added, records[organ].removed) for organ in ORGANS}
    desk.select("spleen")
    assert "prediction was not kept" in desk.ui.backButton.toolTip
    desk.edit("spleen", remove_half)
    assert desk.record("spleen").added is None
    assert "changes unknown" in desk.ui.organLabel.text
    assert predicted_segment(node, desk.row("stomach").segment_id) is not None  # it is still as it was predicted


def test_another_patients_ct_is_no_place_to_accept_organs(desk, tmp_path):
    """The segmentation comes from a file, and the scene holds the CT of somebody else; then its own, too."""
    path = tmp_path / "of A.seg.nrrd"
    assert slicer.util.saveNode(desk.node, str(path))
    slicer.mrmlScene.Clear(0)
    other = add_ct("B", phantom(5)[0])
    desk.panel.parameters.inputVolume = other
    desk.panel.parameters.segmentation = slicer.util.loadSegmentation(str(path))
    editor = desk.section.editor
    assert editor.sourceVolumeNode() is None
    assert "Made on a CT that is not in the scene" in desk.ui.progressLabel.text
    for name in ("accept", "acceptAll", "absent", "strokes", "case"):
        button = getattr(desk.ui, f"{name}Button")
        assert (button.enabled, button.toolTip) == (False, "The CT of this segmentation is not in the scene.")
    own = add_ct("A")
    desk.until(lambda: editor.sourceVolumeNode() is own, 10)
    assert desk.ui.acceptButton.enabled
    assert "not in the scene" not in desk.ui.progressLabel.text


def test_a_ct_whose_file_was_not_found_disables_what_needs_its_voxels(desk):
    set_state(desk.node, desk.row("liver").segment_id, ACCEPTED)
    desk.volume.SetAndObserveImageData(None)
    desk.panel.refresh()
    export, scribble = (desk.panel.section(name).ui for name in ("Export", "Scribble"))
    for button in (desk.ui.caseButton, desk.ui.strokesButton, export.exportButton):
        assert not button.enabled
        assert button.toolTip == "CT has no voxels: its file was not found or could not be read."
    assert not scribble.correctButton.enabled
    assert "no voxels" in scribble.correctButton.toolTip


def test_states_of_other_sections_stay(desk):
    set_state(desk.node, desk.row("liver").segment_id, "scribbled")
    desk.until(lambda: desk.cell("liver", 3) == "scribbled", 10)
    desk.edit("spleen")
    assert desk.row("liver").state == "scribbled"
