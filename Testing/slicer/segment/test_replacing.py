"""Which segmentation is replaced, and where a result comes to lie: on the voxels of its CT, whatever moved them."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from panel_helpers.review_desk import add_box
from panel_helpers.scenes import add_ct, add_result, add_transform, label_array, phantom
from panel_helpers.segment_bench import Bench
from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, EDITED, PREDICTED, rows, set_state
from PartialOrganSegPanel.shell.parameters import EarlierResult

LIVER = phantom()[1] == 1
SHIFTED = np.roll(phantom()[1], 2, axis=2)


def livers(node):
    return [listed for listed in rows(node) if listed.organ == "liver"]


@pytest.fixture
def two_livers(make_panel):
    """A bench whose segmentation has a second liver, which was copied from another one and accepted."""
    bench = Bench(make_panel, "replace")
    volume = add_ct()
    node, other = bench.segment(volume), add_result(volume, ["liver"])
    node.GetSegmentation().CopySegmentFromSegmentation(other.GetSegmentation(), "liver", False)
    slicer.mrmlScene.RemoveNode(other)
    set_state(node, livers(node)[1].segment_id, ACCEPTED)
    return bench, volume, node


def test_both_segments_of_an_organ_are_replaced_and_come_back(two_livers):
    bench, volume, node = two_livers
    bench.start(volume)
    assert "lost when replaced: liver." in bench.services.dialogs.asked[0][1]
    assert bench.finish(SHIFTED) is node
    assert [listed.state for listed in livers(node)] == [PREDICTED]
    assert [listed.organ for listed in rows(node)][:2] == ["liver", "spleen"]
    assert np.array_equal(label_array(node, volume, "liver"), SHIFTED == 1)
    bench.panel.section("Review").ui.undoButton.click()
    assert [listed.state for listed in livers(node)] == [PREDICTED, ACCEPTED]
    assert np.array_equal(label_array(node, volume, "liver"), LIVER)


def test_names_and_colours_of_the_user_stay(make_panel):
    bench = Bench(make_panel, "replace")
    volume = add_ct()
    node = bench.segment(volume)
    segment = node.GetSegmentation().GetSegment(livers(node)[0].segment_id)
    segment.SetName("Leber")
    segment.SetColor(0.1, 0.9, 0.2)
    assert bench.segment(volume, array=SHIFTED) is node
    assert np.array_equal(label_array(node, volume, "liver"), SHIFTED == 1)
    segment = node.GetSegmentation().GetSegment(livers(node)[0].segment_id)
    assert segment.GetName() == "Leber"
    assert segment.GetColor() == (0.1, 0.9, 0.2)
    assert [listed.organ for listed in rows(node)][:2] == ["liver", "spleen"]


def test_both_stay_where_one_of_them_is_edited_meanwhile(two_livers):
    bench, volume, node = two_livers
    bench.start(volume)
    edited = add_box(LIVER.astype(np.uint8))
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, node, livers(node)[0].segment_id, volume)
    bench.finish(SHIFTED)
    assert [listed.state for listed in livers(node)] in ([EDITED, ACCEPTED], [PREDICTED, ACCEPTED])
    assert np.array_equal(label_array(node, volume, "liver"), edited > 0)


def test_of_two_segmentations_the_one_at_hand_is_replaced(make_panel):
    bench = Bench(make_panel)
    volume = add_ct()
    bench.panel.parameters.segment.earlier = EarlierResult.ADD
    first, second = bench.segment(volume), bench.segment(volume)
    bench.panel.parameters.segmentation = first
    bench.panel.parameters.segment.earlier = EarlierResult.REPLACE
    assert bench.segment(volume, array=SHIFTED) is first
    assert np.array_equal(label_array(second, volume, "liver"), LIVER)


def test_a_transform_that_is_hardened_meanwhile_moves_the_result_too(bench):
    volume = add_ct()
    volume.SetAndObserveTransformNodeID(add_transform(np.eye(3), (30, 0, 0)).GetID())
    bench.start(volume)
    volume.HardenTransform()
    assert np.array_equal(label_array(bench.finish(), volume, "liver"), LIVER)


def test_a_segmentation_that_does_not_follow_the_ct_is_left_alone(make_panel):
    """Its organs would lie where the CT was: the user has moved the CT, and not the segmentation."""
    bench = Bench(make_panel, "replace")
    volume = add_ct()
    earlier = bench.segment(volume)
    volume.SetAndObserveTransformNodeID(add_transform(np.eye(3), (20, 0, 0)).GetID())
    node = bench.segment(volume)
    assert node is not earlier
    assert np.array_equal(label_array(node, volume, "liver"), LIVER)
    assert f"{earlier.GetName()} is not under the CT's transform" in bench.said
    assert len(livers(earlier)) == 1
