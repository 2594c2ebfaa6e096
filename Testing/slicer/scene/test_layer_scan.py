"""A layer is counted slice by slice, and a slice that did not change only once."""

import numpy as np
import pytest
from panel_helpers.scenes import add_ct, add_result, phantom
from PartialOrganSegPanel.scene import layer_scan
from PartialOrganSegPanel.scene.voxel_counts import finished, labelmap, voxel_array


@pytest.fixture
def layer():
    """The layer of all organs of the phantom."""
    node = add_result(add_ct())
    return labelmap(node.GetSegmentation().GetSegment("liver"))


def look(layer, earlier=None):
    return finished(layer_scan.scan_layer(layer, earlier))


def test_counts_and_boxes_are_those_of_the_voxels(layer):
    scan = look(layer)
    for value in (1, 2, 12):
        k, j, i = np.nonzero(phantom()[1] == value)
        place = (i + layer_scan.WEIGHT_J * j + layer_scan.WEIGHT_K * k).sum()
        assert scan.counts[value] == layer_scan.Count(len(i), place)
        assert scan.boxes[value] == (i.min(), i.max(), j.min(), j.max(), k.min(), k.max())


def test_only_slices_that_changed_are_counted_again(layer, monkeypatch):
    before = look(layer)
    array = voxel_array(layer)
    array[0, 3:9, 5:11] = 2
    liver = array[int((array == 1).sum((1, 2)).argmax())]
    liver[liver == 1] = 0
    layer.Modified()
    looked = []
    count_page = layer_scan._look_at

    def counted(page, checksum):
        looked.append(page)
        return count_page(page, checksum)

    monkeypatch.setattr(layer_scan, "_look_at", counted)
    scan = look(layer, before)
    assert len(looked) == 2
    assert scan == look(layer)


def test_a_layer_of_another_size_is_counted_anew(layer):
    before = look(layer)
    smaller = labelmap(add_result(add_ct(), ["spleen"]).GetSegmentation().GetSegment("spleen"))
    assert smaller.GetExtent() != layer.GetExtent()
    scan = look(smaller, before)
    assert set(scan.counts) == {2}
    assert scan == look(smaller)
