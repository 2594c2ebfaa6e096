"""A segment's voxels on the grid of a volume: none is lost where the grids are one."""

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from panel_helpers.scenes import add_ct, add_result, add_transform, phantom, rotation
from PartialOrganSegPanel.review.export import write_accepted
from PartialOrganSegPanel.scene.ct_file import write_ct
from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, set_state
from PartialOrganSegPanel.scene.segment_voxels import segment_array
from PartialOrganSegPanel.scene.stroke_labelmap import draw_labelmap, scribble_labelmap
from PartialOrganSegPanel.scene.strokes import new_strokes
from PartialOrganSegPanel.scene.voxel_counts import finished

from PartialOrganSegLib.organs import WORD16

LIVER = phantom()[1] == 1
AXES, OFFSET = rotation(33, -21, 47), (2.5, 7.5, -12.5)  # half voxels, on which resampling has to decide


@pytest.fixture
def twins():
    """A CT and its result under two transforms that are equal."""
    volume = add_ct()
    result = add_result(volume, ("liver", "spleen"))
    for node in (volume, result):
        node.SetAndObserveTransformNodeID(add_transform(AXES, OFFSET).GetID())
    return volume, result


def test_equal_transforms_lose_no_voxel(twins):
    volume, result = twins
    assert np.array_equal(segment_array(result, "liver", volume), LIVER)


def test_a_case_under_equal_transforms_loses_no_voxel(twins, tmp_path):
    volume, result = twins
    set_state(result, "liver", ACCEPTED)
    ct = write_ct(volume, tmp_path / "ct.nrrd")
    assert finished(write_accepted(result, volume, ct, tmp_path / "labels.nrrd")) == ["liver"]
    written = slicer.util.loadLabelVolume(str(tmp_path / "labels.nrrd"))
    assert np.array_equal(slicer.util.arrayFromVolume(written) == 1, LIVER)


def test_strokes_under_an_equal_transform_lose_no_voxel(twins):
    volume, _ = twins
    strokes = new_strokes(volume, WORD16.organs)
    labels = np.where(LIVER, 1, 255).astype(np.uint8)
    draw_labelmap(strokes, volume, labels)
    strokes.SetAndObserveTransformNodeID(add_transform(AXES, OFFSET).GetID())
    assert np.array_equal(scribble_labelmap(strokes, volume), labels)


def test_a_hardened_and_a_soft_transform_are_equal(twins):
    volume, result = twins
    volume.HardenTransform()
    assert np.array_equal(segment_array(result, "liver", volume), LIVER)


def test_a_cropped_ct_gets_its_part():
    volume = add_ct(axes=rotation(10, 20, 30))
    result = add_result(volume, ("liver",))
    crop = np.s_[20:60, 10:50, 5:70]
    part = slicer.util.addVolumeFromArray(np.ascontiguousarray(phantom()[0][crop]), name="part")
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    for axis, value in enumerate(matrix.MultiplyPoint((5, 10, 20, 1))[:3]):
        matrix.SetElement(axis, 3, value)
    part.SetIJKToRASMatrix(matrix)
    assert np.array_equal(segment_array(result, "liver", part), LIVER[crop])


def test_another_grid_is_resampled():
    volume = add_ct()
    result = add_result(volume, ("liver",))
    turned = add_ct("turned", axes=rotation(0, 0, 20))
    resampled = segment_array(result, "liver", turned)
    expected = slicer.util.arrayFromSegmentBinaryLabelmap(result, "liver", turned) > 0
    assert np.array_equal(resampled, expected)
    assert 0 < resampled.sum() <= 1.1 * LIVER.sum()


def test_an_empty_segment_has_no_voxel():
    volume = add_ct()
    result = add_result(volume, ("liver",))
    result.GetSegmentation().AddEmptySegment("none", "none")
    assert not segment_array(result, "none", volume).any()
