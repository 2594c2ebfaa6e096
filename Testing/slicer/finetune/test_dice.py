"""Dice of segments, many of a layer at once: that of their voxels, and no layer is looked at twice."""

import numpy as np
import pytest
import slicer
import vtk
from panel_helpers.scenes import add_ct, add_result, phantom
from PartialOrganSegPanel.finetune import dice
from PartialOrganSegPanel.finetune.dice import SegmentDice
from PartialOrganSegPanel.scene.organ_rows import row
from PartialOrganSegPanel.scene.voxel_counts import BINARY

from PartialOrganSegLib.organs import WORD16


def segments(node):
    return {name: node.GetSegmentation().GetSegment(row(node, name).segment_id) for name in WORD16.names}


def numpy_dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum()) if (first | second).any() else None


@pytest.fixture
def pair():
    """Two segmentations of a CT: the phantom's labels, and those moved along a row, one organ gone."""
    volume = add_ct()
    labels = phantom()[1]
    moved = np.roll(np.where(labels == 1, 0, labels), 3, axis=2)
    return labels, moved, segments(add_result(volume)), segments(add_result(volume, array=moved))


def test_all_pairs_of_organs(pair):
    labels, moved, first, second = pair
    counts = SegmentDice()
    for index, organ in enumerate(WORD16.names, 1):
        for second_index, second_organ in enumerate(WORD16.names, 1):
            expected = numpy_dice(labels == index, moved == second_index)
            if expected is not None:
                expected = pytest.approx(expected)
            assert counts.dice(first[organ], second[second_organ]) == expected


def test_a_layer_is_looked_at_once(pair, monkeypatch):
    _, _, first, second = pair
    looked = {"_sizes": 0, "_common": 0}

    def watch(name, count):
        def look(*layers):
            looked[name] += 1
            return count(*layers)

        monkeypatch.setattr(dice, name, look)

    for name in looked:
        watch(name, getattr(dice, name))
    counts = SegmentDice()
    for name in WORD16.names:
        counts.dice(first[name], second[name])
    assert looked == {"_sizes": 2, "_common": 1}


def test_segments_without_a_voxel():
    empty = slicer.vtkSegment()
    full = segments(add_result(add_ct()))["liver"]
    counts = SegmentDice()
    assert counts.dice(empty, slicer.vtkSegment()) is None
    assert counts.dice(empty, full) == counts.dice(full, empty) == 0


def block(size, start=(0, 0, 0), spacing=1.0):
    """A segment that is a box of `size` voxels (i, j, k) from the index `start`, in a layer no larger than that."""
    image = slicer.vtkOrientedImageData()
    image.SetExtent(*(end for low, length in zip(start, size, strict=True) for end in (low, low + length - 1)))
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    image.GetPointData().GetScalars().Fill(1)
    image.SetSpacing(spacing, spacing, spacing)
    segment = slicer.vtkSegment()
    segment.AddRepresentation(BINARY, image)
    segment.SetLabelValue(1)
    return segment


def test_layers_of_different_extents():
    """Slicer keeps a layer as small as what is in it."""
    first = block((4, 4, 4))
    assert SegmentDice().dice(first, block((4, 4, 4), (2, 0, -1))) == 2 * 24 / 128
    assert SegmentDice().dice(first, block((2, 2, 2), (1, 1, 1))) == 2 * 8 / 72
    assert SegmentDice().dice(first, block((4, 4, 4), (4, 0, 0))) == 0


def test_a_segmentation_on_other_voxels():
    """The user may choose another geometry for a segmentation: both are counted on one grid."""
    assert SegmentDice().dice(block((8, 8, 8), spacing=2.0), block((16, 16, 16), spacing=1.0)) > 0.8
