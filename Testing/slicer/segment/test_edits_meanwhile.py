"""What a user edits and accepts in a segmentation that a run will replace, while it works or unseen before: nothing is
lost."""

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.review_desk import add_box
from panel_helpers.scenes import add_ct, add_result, label_array, phantom
from panel_helpers.segment_bench import Bench
from PartialOrganSegPanel.scene import voxel_counts
from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, EDITED, PREDICTED, row, rows, set_state
from PartialOrganSegPanel.shell.parameters import EarlierResult

SHIFTED = np.roll(phantom()[1], 2, axis=2)


def draw(node, volume, organ, array):
    slicer.util.updateSegmentBinaryLabelmapFromArray(array.astype(np.uint8), node, row(node, organ).segment_id, volume)


def test_accepted_meanwhile_stays(make_panel):
    bench = Bench(make_panel, "replace")
    volume = add_ct()
    node = bench.segment(volume)
    bench.start(volume)
    set_state(node, row(node, "spleen").segment_id, ACCEPTED)
    assert bench.finish(SHIFTED) is node
    assert row(node, "spleen").state == ACCEPTED
    assert np.array_equal(label_array(node, volume, "spleen"), phantom()[1] == 2)
    liver = label_array(node, volume, "liver")
    assert np.array_equal(liver, (SHIFTED == 1) & (phantom()[1] != 2))  # takes no voxel of what was accepted
    assert row(node, "liver").state == PREDICTED
    assert [listed.organ for listed in rows(node)][:2] == ["liver", "spleen"]
    assert "Kept as you changed them meanwhile: spleen." in bench.said
    held = np.count_nonzero((SHIFTED != 0) & (SHIFTED != 2) & (phantom()[1] == 2))
    assert f"from organs that stay as they are: spleen {held}." in bench.said


def test_edited_meanwhile_stays(make_panel, until):
    bench = Bench(make_panel, "replace")
    volume = add_ct()
    node = bench.segment(volume)
    bench.start(volume)
    edited = add_box((phantom()[1] == 1).astype(np.uint8))
    draw(node, volume, "liver", edited)
    bench.finish(SHIFTED)
    assert np.array_equal(label_array(node, volume, "liver"), edited > 0)
    assert np.array_equal(label_array(node, volume, "spleen"), (SHIFTED == 2) & (edited == 0))
    until(lambda: row(node, "liver").state == EDITED, 10)
    assert row(node, "spleen").state == PREDICTED
    assert "liver" in bench.said


def test_only_what_was_changed_since_is_kept(make_panel):
    """What was accepted before, and the user agreed to replace, is replaced."""
    bench = Bench(make_panel, "replace")
    volume = add_ct()
    node = bench.segment(volume)
    for organ in ("liver", "spleen"):
        set_state(node, row(node, organ).segment_id, ACCEPTED)
    bench.start(volume)
    set_state(node, row(node, "stomach").segment_id, ACCEPTED)
    bench.finish(SHIFTED)
    states = {listed.organ: listed.state for listed in rows(node) if listed.state != PREDICTED}
    assert states == {"stomach": ACCEPTED}


def test_everything_accepted_meanwhile(make_panel):
    bench = Bench(make_panel, "replace")
    volume = add_ct()
    node = bench.segment(volume)
    bench.start(volume)
    for listed in rows(node):
        set_state(node, listed.segment_id, ACCEPTED)
    bench.finish(SHIFTED)
    assert {listed.state for listed in rows(node)} == {ACCEPTED}
    assert np.array_equal(label_array(node, volume, "liver"), phantom()[1] == 1)


def test_a_run_for_some_organs_takes_nothing_from_accepted_ones(make_panel):
    bench = Bench(make_panel, "replace")
    volume = add_ct()
    node = bench.segment(volume)
    for organ in ("liver", "stomach"):
        set_state(node, row(node, organ).segment_id, ACCEPTED)
    settings = bench.panel.parameters.segment
    settings.someOrgans, settings.organs = True, ["stomach"]
    in_liver = np.argwhere(phantom()[1] == 1)[:500]
    new = np.where(SHIFTED == 5, 5, 0)
    new[tuple(in_liver.T)] = 5
    expected = (new == 5) & (phantom()[1] != 1)
    bench.segment(volume, array=new, organs=("stomach",))
    assert row(node, "liver").state == ACCEPTED
    assert np.array_equal(label_array(node, volume, "liver"), phantom()[1] == 1)
    # the user has agreed to replace the stomach, which spares nothing of its own
    assert np.array_equal(label_array(node, volume, "stomach"), expected)
    assert f"stay as they are: liver {np.count_nonzero((new == 5) & ~expected)}." in bench.said


@pytest.mark.parametrize("small", [True, False], ids=["small CT", "large CT"])
def test_edited_while_review_looked_at_another_segmentation_is_asked_about(make_panel, until, monkeypatch, small):
    bench = Bench(make_panel, "replace", None)
    volume, other = add_ct("CT 1"), add_ct("CT 2", phantom(5)[0])
    node = bench.segment(volume)
    bench.segment(volume)  # "replace" is remembered
    until(lambda: not bench.panel.section("Review").looking.active, 10)
    bench.segment(other, array=phantom(5)[1])
    edited = add_box((phantom()[1] == 2).astype(np.uint8))
    draw(node, volume, "spleen", edited)
    assert row(node, "spleen").state == PREDICTED  # nobody has noticed
    runs = len(bench.services.processes)
    if not small:
        monkeypatch.setattr(voxel_counts, "SMALL", 0)
    bench.start(volume)
    until(lambda: len(bench.services.dialogs.asked) == 2, 10)
    assert "spleen" in bench.services.dialogs.asked[1][1]
    assert "liver" not in bench.services.dialogs.asked[1][1]
    assert len(bench.services.processes) == runs  # the user has cancelled
    assert bench.ui.segmentButton.text == "Segment"
    assert np.array_equal(label_array(node, volume, "spleen"), edited > 0)


def test_what_review_never_saw_is_asked_about(make_panel):
    bench = Bench(make_panel, None)
    bench.panel.parameters.segment.earlier = EarlierResult.REPLACE
    volume = add_ct()
    add_result(volume, ("liver",))
    bench.start(volume)
    assert "liver" in bench.services.dialogs.asked[0][1]
    assert not bench.services.processes


def test_organs_that_were_deleted_meanwhile_come_back(make_panel):
    bench = Bench(make_panel, "replace")
    volume = add_ct()
    node = bench.segment(volume)
    bench.start(volume)
    node.GetSegmentation().RemoveSegment("spleen")
    bench.finish(SHIFTED)
    assert np.array_equal(label_array(node, volume, "spleen"), SHIFTED == 2)
