"""A segmentation of 3D Slicer is read by the names of its segments, never by its numbers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from PartialOrganSegLib.annotation import Kind
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.datasets.segment_labels import read_organ_labels
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.strokes import NOT_DRAWN
from PartialOrganSegLib.formats.writing import write_segmentation
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.listener import Listener
from Testing.helpers.volume_files import refused

LIVER, SPLEEN, COLON = (WORD16.index(name) for name in ("liver", "spleen", "colon"))


def segmentation(path: Path, names: Mapping[int, str], ids: Mapping[int, str] | None = None) -> Path:
    """A .seg.nrrd in which value v fills slice v; the `names` (and IDs) of the values stand in its header."""
    array = np.zeros((8, 10, 12), np.uint8)
    for value in names:
        array[value, 2:8, 2:8] = value
    image = sitk.GetImageFromArray(array)
    for number, (value, name) in enumerate(names.items()):
        segment_id = (ids or {}).get(value, f"Segment_{value}")
        fields = {"ID": segment_id, "Name": name, "LabelValue": str(value), "Layer": "0"}
        for field, text in fields.items():
            image.SetMetaData(f"Segment{number}_{field}", text)
    sitk.WriteImage(image, str(path), True)
    return path


def test_names_count_whatever_the_numbers_are(tmp_path: Path) -> None:
    path = segmentation(tmp_path / "a.seg.nrrd", {1: "Spleen", 2: "liver", 5: "Left Kidney"})
    # Slice v holds value v, so a voxel of slice v tells what became of it.
    array = read_organ_labels(path, WORD16).array
    expected = {1: SPLEEN, 2: LIVER, 5: WORD16.index("left_kidney")}
    assert {value: int(array[value, 4, 4]) for value in expected} == expected
    assert np.count_nonzero(array) == 3 * 36


def test_header_decides_not_the_ending(tmp_path: Path) -> None:
    renamed = segmentation(tmp_path / "a.seg.nrrd", {1: "spleen"}).rename(tmp_path / "labels.nrrd")
    assert read_organ_labels(renamed, WORD16).array.max() == SPLEEN
    refused(renamed, "segmentation of 3D Slicer", call=read_labelmap)


def test_the_only_segment_of_an_earlier_slicer_has_no_value_of_its_own(tmp_path: Path) -> None:
    path = segmentation(tmp_path / "Müller 1.seg.nrrd", {1: "spleen"})
    content = path.read_bytes()
    for field in (b"LabelValue:=1\n", b"Layer:=0\n"):
        assert content.count(b"Segment0_" + field) == 1
        content = content.replace(b"Segment0_" + field, b"")
    path.write_bytes(content)
    assert np.unique(read_organ_labels(path, WORD16).array).tolist() == [0, SPLEEN]


def test_own_segmentation_comes_back(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, WORD16.class_count, (8, 10, 12)).astype(np.uint8)
    write_segmentation(tmp_path / "a.seg.nrrd", Volume(labels, Grid((12, 10, 8), (1.0, 1.0, 2.0))), WORD16)
    np.testing.assert_array_equal(read_organ_labels(tmp_path / "a.seg.nrrd", WORD16).array, labels)


def test_renamed_segment_keeps_no_organ_of_its_id(tmp_path: Path) -> None:
    path = segmentation(tmp_path / "a.seg.nrrd", {1: "spleen"}, ids={1: "liver"})
    assert read_organ_labels(path, WORD16).array.max() == SPLEEN
    # A name that Slicer made up says nothing: then the ID counts.
    path = segmentation(tmp_path / "b.seg.nrrd", {1: "Segment_1"}, ids={1: "liver"})
    assert read_organ_labels(path, WORD16).array.max() == LIVER


@pytest.mark.parametrize("name", ["Segment_1", "kidney", "Femur part", ""])
def test_name_that_is_no_single_organ_is_refused(tmp_path: Path, name: str) -> None:
    path = segmentation(tmp_path / "a.seg.nrrd", {1: name})
    assert f"segment '{name}'" in refused(path, "rename the segment", call=read_organ_labels, label_space=WORD16)


def test_organs_of_no_interest_are_background_and_reported(tmp_path: Path) -> None:
    listener = Listener()
    path = segmentation(tmp_path / "a.seg.nrrd", {1: "Aorta", 2: "liver"})
    array = read_organ_labels(path, WORD16, listener).array
    assert set(np.unique(array)) == {0, LIVER}
    assert "Aorta" in listener.warnings[0]


def test_one_side_of_an_undivided_organ_is_reported(tmp_path: Path) -> None:
    listener = Listener()
    two_sides = segmentation(tmp_path / "a.seg.nrrd", {1: "Left adrenal gland", 2: "adrenal_gland_right"})
    assert set(np.unique(read_organ_labels(two_sides, WORD16, listener).array)) == {0, WORD16.index("adrenal")}
    assert not listener.warnings
    read_organ_labels(segmentation(tmp_path / "b.seg.nrrd", {1: "Left adrenal gland"}), WORD16, listener)
    assert "only the left side" in listener.warnings[0]


def test_no_names_or_one_value_for_two_is_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 5, 6), np.uint8)), str(tmp_path / "a.seg.nrrd"))
    refused(tmp_path / "a.seg.nrrd", "a segment for every value", call=read_organ_labels, label_space=WORD16)
    path = segmentation(tmp_path / "b.seg.nrrd", {1: "liver", 2: "spleen"})
    image = sitk.ReadImage(str(path))
    image.SetMetaData("Segment1_LabelValue", "1")
    sitk.WriteImage(image, str(path))
    refused(path, "a value of its own", call=read_organ_labels, label_space=WORD16)


def test_it_is_no_ct(tmp_path: Path) -> None:
    refused(segmentation(tmp_path / "a.seg.nrrd", {1: "liver"}), "segmentation of 3D Slicer", force=True)
    image = sitk.GetImageFromArray(np.ones((4, 5, 6), np.int16))
    sitk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    assert read_ct(tmp_path / "ct.nrrd", force=True).array.shape == (4, 5, 6)


def test_case_of_a_manifest(tmp_path: Path) -> None:
    label = segmentation(tmp_path / "a.seg.nrrd", {1: "spleen", 2: "liver"})

    def case(**settings: object) -> Case:
        return Case(name="a", group="a", dataset="d", image=tmp_path / "ct.nrrd", label=label, **settings)

    assert case(kind=Kind.FULL).read_label(WORD16).array[1, 4, 4] == SPLEEN
    # A label map names the file's own values, and the names must agree.
    agreeing = case(kind=Kind.FULL, label_map=((1, ("spleen", "colon")), (2, ("liver",))))
    assert agreeing.read_label(WORD16).array[1, 4, 4] == 1
    wrong = case(kind=Kind.FULL, label_map=((1, ("liver",)), (2, ("spleen",))))
    refused(label, "spleen", "label_map", call=lambda path: wrong.read_label(WORD16))
    # Where nobody drew is not background.
    strokes = case(kind=Kind.SCRIBBLE).read_label(WORD16).array
    assert strokes[0, 0, 0] == NOT_DRAWN
    assert strokes[2, 4, 4] == LIVER
