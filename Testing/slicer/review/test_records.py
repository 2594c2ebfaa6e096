"""What a review records and writes: active time, counts, the CSV of the user study, partially labelled cases."""

import csv

import numpy as np
import pytest
import slicer
import slicer.util
from hypothesis import given
from hypothesis import strategies as st
from panel_helpers.doubles import Doubles
from panel_helpers.scenes import add_ct, add_result, label_array, phantom, rotation
from PartialOrganSegPanel.review.clock import PAUSE_S, ActiveTime
from PartialOrganSegPanel.review.export import write_accepted, write_case
from PartialOrganSegPanel.review.logic import Review
from PartialOrganSegPanel.review.study_table import COLUMNS, write_table
from PartialOrganSegPanel.scene.ct_file import write_ct
from PartialOrganSegPanel.scene.organ_rows import ABSENT, ACCEPTED, accepted_organs, row, rows
from PartialOrganSegPanel.scene.review_record import ReviewRecord
from PartialOrganSegPanel.scene.voxel_counts import finished, overlap, voxel_ml


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def reviewed(clock):
    """A segmentation of three organs and its review on a test's clock."""
    node = add_result(add_ct(), ("liver", "spleen", "stomach"))
    review = Review(node, lambda: None, ActiveTime(clock))
    review.look()
    return node, review


def change(node, volume, organ, array):
    slicer.util.updateSegmentBinaryLabelmapFromArray(array.astype(np.uint8), node, row(node, organ).segment_id, volume)


# --- time

@given(st.lists(st.floats(0, 3 * PAUSE_S), max_size=20))
def test_pauses_do_not_count(gaps):
    clock = Clock()
    time = ActiveTime(clock)
    time.switch("liver")
    for gap in gaps:
        clock.seconds += gap
        time.sign()
    counted = time.take().get("liver", 0.0)
    expected = np.diff(np.cumsum([0.0, *gaps]))
    assert counted == pytest.approx(sum(gap for gap in expected if gap <= PAUSE_S), abs=1e-6)
    assert time.take() == {}


def test_time_goes_to_the_organ_at_hand(clock):
    time = ActiveTime(clock)
    for organ in ("liver", "spleen", "", "liver"):
        time.switch(organ)
        clock.seconds += 10
    time.sign()
    assert time.take() == {"liver": 20, "spleen": 10}


def test_times_are_written_and_outlive_undo(reviewed, clock):
    node, review = reviewed
    segment = node.GetSegmentation().GetSegment("liver")
    before = slicer.vtkSegment()
    before.DeepCopy(segment)
    review.clock.switch("liver")
    clock.seconds = 30
    review.write_times()
    assert review.record("liver").seconds == 30
    segment.DeepCopy(before)  # what undo does with tags
    assert review.record("liver").seconds == 30
    clock.seconds = 40
    review.write_times()
    assert Review(node, lambda: None).record("liver").seconds == 40


def test_time_is_up_to_date_in_a_saved_scene(make_panel, clock, tmp_path):
    panel = make_panel(Doubles())
    section = panel.section("Review")
    panel.parameters.segmentation = add_result(add_ct(), ("liver", "spleen"))
    section._review.clock = ActiveTime(clock)
    panel.enter()
    clock.seconds = 25
    slicer.util.getNode("vtkMRMLSliceNodeRed").Modified()  # as browsing through slices does
    path = tmp_path / "timed.mrb"
    assert slicer.util.saveScene(str(path))
    panel.exit()
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(path))
    assert section._review.record("liver").seconds == 25


def test_no_time_after_the_module_was_left(make_panel, clock):
    panel = make_panel(Doubles())
    section = panel.section("Review")
    panel.parameters.segmentation = add_result(add_ct(), ("liver",))
    section._review.clock = ActiveTime(clock)
    clock.seconds = 5  # not opened yet
    panel.enter()
    clock.seconds = 15
    panel.exit()
    clock.seconds = 20
    section._time.sign()
    panel.enter()
    clock.seconds = 22
    section._time.sign()
    section._review.write_times()
    assert section._review.record("liver").seconds == 12


# --- counts

def test_counts_in_one_shared_layer_and_in_several(reviewed):
    node, review = reviewed
    truth = phantom()[1]
    for _ in range(2):
        for organ, value in (("liver", 1), ("spleen", 2), ("stomach", 5)):
            assert review.record(row(node, organ).segment_id).voxels == np.count_nonzero(truth == value)
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
        assert not review.look()  # the same voxels in other layers are no edit
    assert node.GetSegmentation().GetNumberOfLayers() == 1


def test_overlap_on_another_geometry(scene):
    """The same box, on voxels of 5 mm and of 2.5 mm."""
    array = np.zeros((16, 16, 16), np.uint8)
    array[4:8, 4:10, 4:12] = 1
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    for name, labels, spacing, origin in (("coarse", array, 5.0, 0.0),
                                          ("fine", array.repeat(2, 0).repeat(2, 1).repeat(2, 2), 2.5, -1.25)):
        matrix = np.diag([spacing, spacing, spacing, 1.0])
        matrix[:3, 3] = origin
        volume = slicer.util.addVolumeFromArray(labels, ijkToRAS=matrix)
        node.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(labels, node, name, volume)
    coarse, fine = (node.GetSegmentation().GetSegment(name) for name in ("coarse", "fine"))
    assert overlap(coarse, fine) == np.count_nonzero(array)
    assert voxel_ml(node, coarse) == pytest.approx(0.125)


@pytest.mark.parametrize(("record", "dice"), [
    (ReviewRecord(8, 0, predicted=10, added=2, removed=4), 2 * 6 / 18),
    (ReviewRecord(0, 0, predicted=10, added=0, removed=10), 0.0),
    (ReviewRecord(0, 0, predicted=0, added=0, removed=0), None),
    (ReviewRecord(8, 0, predicted=10), None),
])
def test_dice_of_a_record(record, dice):
    assert record.dice == (None if dice is None else pytest.approx(dice))


# --- files

@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "x;@SUM(1)", "line 1\nline 2"])
def test_names_in_the_table_are_no_formulas_and_no_lines(reviewed, tmp_path, name):
    node, review = reviewed
    node.SetName(name)
    review.accept(row(node, "liver").segment_id)
    for _ in range(2):  # the second time it takes the place of its own earlier lines
        write_table(tmp_path / "t.csv", [node], add=(tmp_path / "t.csv").exists())
        lines = (tmp_path / "t.csv").read_text("utf-8").splitlines()
        assert len(lines) == 4
        assert f",{name}," not in lines[1]
        assert "'" in lines[1] or "\\n" in lines[1]


def test_table_of_the_user_study(reviewed, clock, tmp_path):
    node, review = reviewed
    volume = slicer.util.getNode("CT")
    truth = phantom()[1]
    review.clock.switch("liver")
    clock.seconds = 12.5
    larger = (truth == 1) | (np.roll(truth, 1, axis=2) == 1)
    change(node, volume, "liver", larger)
    review.look()
    review.accept(row(node, "liver").segment_id)
    review.absent(row(node, "spleen").segment_id)
    path = tmp_path / "r\N{LATIN SMALL LETTER E WITH ACUTE}sum\N{LATIN SMALL LETTER E WITH ACUTE} 1.csv"
    assert write_table(path, [node]) == 3
    with open(path, newline="", encoding="utf-8") as file:
        lines = {line["organ"]: line for line in csv.DictReader(file)}
    liver = lines["liver"]
    assert tuple(liver) == COLUMNS
    assert (liver["ct"], liver["state"], float(liver["active_seconds"])) == ("CT", ACCEPTED, 12.5)
    edited, predicted = label_array(node, volume, "liver"), truth == 1
    dice = 2 * np.count_nonzero(edited & predicted) / (np.count_nonzero(edited) + np.count_nonzero(predicted))
    assert 0.5 < dice < 1
    assert liver["dice_prediction_accepted"] == liver["dice_prediction_now"]
    assert float(liver["dice_prediction_accepted"]) == pytest.approx(dice, abs=1e-5)
    assert int(liver["added_voxels"]) == np.count_nonzero(edited & ~predicted)
    assert float(liver["ml"]) == pytest.approx(np.count_nonzero(edited) / 8)
    spleen = lines["spleen"]
    assert (spleen["state"], spleen["voxels"], float(spleen["dice_prediction_accepted"])) == (ABSENT, "0", 0.0)
    assert float(spleen["predicted_ml"]) == pytest.approx(np.count_nonzero(truth == 2) / 8)
    assert (lines["stomach"]["dice_prediction_now"], lines["stomach"]["dice_prediction_accepted"]) == ("1.0", "")


@pytest.mark.parametrize("turned", [False, True])
def test_accepted_labels_lie_on_the_ct(scene, tmp_path, turned):
    """Also on an oblique CT under a transform: read back by the library, labels and CT share their voxels."""
    from PartialOrganSegLib.formats.reading import read_ct, read_labelmap

    volume = add_ct(axes=rotation(20, -10, 30)) if turned else add_ct()
    if turned:
        transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = rotation(0, 0, 45), (10, 20, 30)
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        volume.SetAndObserveTransformNodeID(transform.GetID())
    node = add_result(volume, ("liver", "spleen", "stomach"))
    review = Review(node, lambda: None)
    review.accept(row(node, "stomach").segment_id)
    review.absent(row(node, "spleen").segment_id)
    nodes = scene.GetNumberOfNodes()
    ct = write_ct(volume, tmp_path / "ct.nrrd")
    written = finished(write_accepted(node, volume, ct, tmp_path / "label.nrrd"))
    assert written == accepted_organs(node) == ["spleen", "stomach"]
    assert scene.GetNumberOfNodes() == nodes
    image, labels = read_ct(tmp_path / "ct.nrrd"), read_labelmap(tmp_path / "label.nrrd")
    assert image.grid.same_as(labels.grid)
    assert np.array_equal(image.array, phantom()[0])
    assert np.array_equal(labels.array, np.where(phantom()[1] == 5, 5, 0))


def test_case_with_manifest(scene, tmp_path):
    from PartialOrganSegLib.datasets.manifest import load_manifest

    volume = add_ct("CT: 3/4, Stra\N{LATIN SMALL LETTER SHARP S}e")
    node = add_result(volume, ("liver", "spleen"))
    Review(node, lambda: None).accept(row(node, "liver").segment_id)
    manifest = load_manifest(finished(write_case(node, volume, tmp_path, "case")))
    case, = manifest.cases
    assert [listed.state for listed in rows(node)] == [ACCEPTED, "predicted"]
    assert case.kind == "partial"
    assert list(case.annotated) == ["liver"]


def test_a_case_that_fails_leaves_no_file_and_an_earlier_one_whole(tmp_path, monkeypatch):
    volume = add_ct()
    node = add_result(volume, ("liver",))
    Review(node, lambda: None).accept(row(node, "liver").segment_id)
    for folder, earlier in ((tmp_path / "new", False), (tmp_path / "again", True)):
        folder.mkdir()
        if earlier:
            finished(write_case(node, volume, folder, "case"))
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        slicer.util.updateVolumeFromArray(volume, phantom()[0] + 1)
        with monkeypatch.context() as patch:
            patch.setattr("PartialOrganSegPanel.review.export.write_accepted", _full)
            with pytest.raises(OSError, match="disk full"):
                finished(write_case(node, volume, folder, "case"))
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def _full(*_):
    raise OSError("is the disk full?")
