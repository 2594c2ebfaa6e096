"""Segmentations are written in pieces, and Slicer's own reader finds in them what its own writer would have written."""

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.scenes import add_ct, add_result, label_array, phantom
from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, row, rows, set_state
from PartialOrganSegPanel.scene.seg_nrrd import is_whole
from PartialOrganSegPanel.scene.seg_nrrd_writing import write_segmentation
from PartialOrganSegPanel.scene.strokes import new_strokes, stroke_organs
from PartialOrganSegPanel.scene.voxel_counts import finished, labelmap

from PartialOrganSegLib.organs import WORD16


def written(node, path):
    """The node as Slicer reads it back."""
    finished(write_segmentation(node, path))
    assert is_whole(path)
    return slicer.util.loadSegmentation(str(path))


@pytest.fixture
def segmented():
    volume = add_ct(axes=np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]))
    return volume, add_result(volume)


def same_segments(first, second):
    """Whether two nodes have the same segments, but for their voxels. A file has six digits of a colour."""
    segments = [[node.GetSegmentation().GetSegment(segment_id) for segment_id in node.GetSegmentation().GetSegmentIDs()]
                for node in (first, second)]
    names = [[(segment.GetName(), segment.GetLabelValue()) for segment in of_node] for of_node in segments]
    colours = [np.array([segment.GetColor() for segment in of_node]) for of_node in segments]
    return names[0] == names[1] and np.allclose(*colours, atol=1e-4)


def test_segments_tags_and_voxels_come_back(segmented, tmp_path):
    volume, node = segmented
    set_state(node, row(node, "liver").segment_id, ACCEPTED)
    node.GetSegmentation().GetSegment("spleen").SetTag("own tag", "a b: Müller")
    slicer.vtkSlicerSegmentationsModuleLogic.ClearSegment(node, "colon")
    node.GetSegmentation().AddEmptySegment("new", "new")
    loaded = written(node, tmp_path / "a.seg.nrrd")
    assert rows(loaded) == rows(node)
    assert same_segments(loaded, node)
    assert loaded.GetSegmentation().GetNumberOfLayers() == 1
    for segment_id in ("colon", "new"):
        assert not slicer.util.arrayFromSegmentBinaryLabelmap(loaded, segment_id, volume).any()
    for organ in ("liver", "spleen", "rectum"):
        assert np.array_equal(label_array(loaded, volume, organ), phantom()[1] == WORD16.index(organ)), organ


def test_overlapping_segments_keep_their_layers(segmented, tmp_path):
    volume, node = segmented
    segment_id = node.GetSegmentation().AddEmptySegment("own", "mine \\ ü", (0.5, 0.25, 1.0))
    tumour = np.zeros(phantom()[1].shape, np.uint8)
    tumour[2:40, 3:60, 1:79] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(tumour, node, segment_id, volume)
    assert node.GetSegmentation().GetNumberOfLayers() == 2
    loaded = written(node, tmp_path / "a.seg.nrrd")
    assert same_segments(loaded, node)
    assert loaded.GetSegmentation().GetNumberOfLayers() == 2
    array = slicer.util.arrayFromSegmentBinaryLabelmap(loaded, segment_id, volume)
    assert np.array_equal(array, tumour)
    assert np.array_equal(label_array(loaded, volume, "liver"), phantom()[1] == 1)


def test_strokes_without_a_voxel_come_back(tmp_path):
    strokes = new_strokes(add_ct(), WORD16.organs)
    loaded = written(strokes, tmp_path / "a.seg.nrrd")
    assert stroke_organs(loaded) == stroke_organs(strokes)


def test_an_edit_between_two_pieces_ends_it(segmented, tmp_path, monkeypatch):
    from PartialOrganSegPanel.scene import nrrd_pieces

    monkeypatch.setattr(nrrd_pieces, "SLAB_BYTES", 1)
    _volume, node = segmented
    work = write_segmentation(node, tmp_path / "a.seg.nrrd")
    next(work)
    next(work)
    labelmap(node.GetSegmentation().GetSegment("liver")).Modified()
    with pytest.raises(OSError, match="changed while they were written"):
        finished(work)
