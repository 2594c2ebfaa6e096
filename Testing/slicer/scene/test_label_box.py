"""Organs in a box of the CT: what is read is what is there, and a change never takes what somebody else edited."""

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.scenes import add_ct, add_result, label_array, phantom
from PartialOrganSegPanel.scene.label_box import change_box, read_box, slices_of
from PartialOrganSegPanel.scene.organ_rows import rows

BOX = (30, 60, 5, 60, 10, 70)
TURNED = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
ORGANS = ("liver", "spleen", "stomach")


@pytest.fixture(params=[None, TURNED])
def case(request):
    volume = add_ct(axes=request.param)
    node = add_result_on(volume)
    values = {row.segment_id: number for number, row in enumerate(rows(node), 1)}
    return volume, node, values


def add_result_on(volume):
    return add_result(volume, ORGANS)


def expected(box=BOX):
    labels = phantom()[1]
    return np.select([labels == 1, labels == 2, labels == 5], [1, 2, 3])[slices_of(box)]


def test_a_box_is_read(case):
    volume, node, values = case
    assert np.array_equal(read_box(node, values, volume, BOX), expected())
    assert len(np.unique(expected())) == 4


def test_a_change_goes_where_it_was_seen_and_nowhere_else(case):
    volume, node, values = case
    before = read_box(node, values, volume, BOX)
    after = before.copy()
    after[10:20, 10:30, 10:30] = 2
    changed = change_box(node, values, volume, BOX, before, after)
    assert np.array_equal(changed, before != after)
    assert np.array_equal(read_box(node, values, volume, BOX), after)
    whole = phantom()[1] == 2
    whole[slices_of(BOX)] = after == 2
    assert np.array_equal(label_array(node, volume, "spleen"), whole)
    assert node.GetSegmentation().GetNumberOfLayers() == 1


def test_what_was_edited_meanwhile_stays(case):
    volume, node, values = case
    before = read_box(node, values, volume, BOX)
    edited = before.copy()
    edited[12:15, 12:15, 12:15] = 3
    change_box(node, values, volume, BOX, before, edited)
    after = before.copy()
    after[10:20, 10:20, 10:20] = 2
    changed = change_box(node, values, volume, BOX, before, after)
    now = read_box(node, values, volume, BOX)
    assert np.array_equal(now == 3, edited == 3)
    assert not changed[12:15, 12:15, 12:15].any()
    assert (now[10:12, 10:20, 10:20] == 2).all()


def test_an_organ_without_a_voxel_and_a_layer_without_room_get_their_voxels(scene):
    """A layer that Slicer has cropped to its organs ends before the box does."""
    volume = add_ct()
    node = add_result(volume, ORGANS, np.where(np.isin(phantom()[1], [1]), 1, 0).astype(np.uint8))
    values = {row.segment_id: number for number, row in enumerate(rows(node), 1)}
    slicer.util.updateSegmentBinaryLabelmapFromArray((phantom()[1] == 1).astype(np.uint8), node, "liver", volume)
    box = (0, 80, 0, 64, 0, 80)
    before = read_box(node, values, volume, box)
    after = before.copy()
    after[0:4, 0:4, 0:4], after[70:75, 3:9, 3:9] = 1, 2
    assert np.array_equal(change_box(node, values, volume, box, before, after), before != after)
    assert np.array_equal(read_box(node, values, volume, box), after)
