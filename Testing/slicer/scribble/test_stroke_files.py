"""Scribble label maps and cases: the 255 convention on the CT's voxels, in any orientation, as the library reads it."""

import itertools

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.scenes import add_ct, add_transform, ijk_to_ras, phantom, rotation, strokes_on
from panel_helpers.scribble_desk import LIVER
from PartialOrganSegPanel.scene.stroke_labelmap import NOT_DRAWN, draw_labelmap, scribble_labelmap
from PartialOrganSegPanel.scene.strokes import follow_transform, new_strokes, stroke_segments
from PartialOrganSegPanel.scene.voxel_counts import finished
from PartialOrganSegPanel.scribble.files import case_entry, read_map, save_map, write_case

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats import strokes as library
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.organs import SHI5, WORD16

SIZE = (7, 6, 5)  # i, j, k
SHEAR = np.array([[1, 0.2, 0], [0, 1, 0], [0, 0, 1]])


def small_ct(axes=None, name="CT"):
    """A CT of few voxels of 2 x 3 x 5 mm, no two of the same value."""
    values = np.arange(np.prod(SIZE), dtype=np.int16).reshape(SIZE[::-1])
    matrix = np.eye(4)
    matrix[:3, :3] = (np.eye(3) if axes is None else axes) @ np.diag([-2.0, -3.0, 5.0])
    matrix[:3, 3] = (-10, 20, 30)
    return slicer.util.addVolumeFromArray(values, ijkToRAS=matrix, name=name)


def some_labels():
    """A scribble label map with some of every kind of voxel, without a symmetry."""
    labels = np.full(SIZE[::-1], NOT_DRAWN, np.uint8)
    labels[1, 2, 3:6], labels[4, 0, 0:2], labels[2, 5, 6], labels[0, 0, 0] = 1, 16, 5, 0
    return labels


def reordered(volume, labels, order, flips):
    """The labels as a node whose voxel axes are those of the volume, in another order and direction."""
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for new, old in enumerate(order):
        change[old, new] = -1 if flips[new] else 1
        change[old, 3] = SIZE[old] - 1 if flips[new] else 0
    array = np.flip(labels.T.transpose(order), np.flatnonzero(flips)).T
    return slicer.util.addVolumeFromArray(np.ascontiguousarray(array), ijkToRAS=ijk_to_ras(volume) @ change,
                                          nodeClassName="vtkMRMLLabelMapVolumeNode")


def save(node, path):
    assert slicer.util.saveNode(node, str(path))
    return path


def test_not_drawn_is_the_librarys():
    assert library.NOT_DRAWN == NOT_DRAWN


def test_drawing_and_reading_back_agree():
    volume = small_ct()
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    strokes = new_strokes(volume, WORD16.organs)
    assert (scribble_labelmap(strokes, volume) == NOT_DRAWN).all()
    draw_labelmap(strokes, volume, some_labels())
    assert np.array_equal(scribble_labelmap(strokes, volume), some_labels())
    assert strokes.GetSegmentation().GetNumberOfLayers() == 1
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes + 2  # the strokes and their display


def test_segments_in_layers_of_their_own_give_the_same_map():
    volume, labels = small_ct(rotation(12, -7, 30)), some_labels()
    strokes = new_strokes(volume, WORD16.organs)
    for name, value in (("liver", 1), ("head_of_right_femur", 16), ("stomach", 5), ("background", 0)):
        slicer.util.updateSegmentBinaryLabelmapFromArray((labels == value).astype(np.uint8), strokes,
                                                         stroke_segments(strokes)[name], volume)
    assert np.array_equal(scribble_labelmap(strokes, volume), labels)


@pytest.mark.parametrize("axes", [None, rotation(12, -7, 30)])
@pytest.mark.parametrize("name", ["strokes.nii.gz", "strokes.nii", "strokes.mha",
                                  "Striche \N{LATIN SMALL LETTER U WITH DIAERESIS}.nrrd"])
def test_saved_map_lies_on_the_ct(tmp_path, name, axes):
    volume = small_ct(axes)
    volume.SetAndObserveTransformNodeID(add_transform(rotation(0, 0, 40), (9, 9, 9)).GetID())
    strokes = strokes_on(volume, some_labels())
    finished(save_map(strokes, volume, tmp_path / name))
    read = read_labelmap(tmp_path / name)
    voxel = np.argwhere(some_labels() == 5)[0][::-1]
    expected = (ijk_to_ras(volume) @ (*voxel, 1))[:3] * (-1, -1, 1)
    place = read.grid.origin + read.grid.matrix[:3, :3] @ np.argwhere(read.array == 5)[0][::-1]
    assert np.allclose(place, expected, atol=1e-3)
    assert np.array_equal(finished(read_map(tmp_path / name, volume, 16)), some_labels())
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("axes", [None, rotation(12, -7, 30)])
def test_map_in_any_of_48_orientations(tmp_path, axes):
    volume = small_ct(axes)
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            node = reordered(volume, some_labels(), order, flips)
            path = save(node, tmp_path / "map.nrrd")
            assert np.array_equal(finished(read_map(path, volume, 16)), some_labels()), (order, flips)
            slicer.mrmlScene.RemoveNode(node)


def test_what_is_no_scribble_of_this_ct_is_refused(tmp_path):
    volume = small_ct()
    labels = some_labels()
    labels[0, 0, 5] = 17
    cases = {"expected 0..16 or 255 (not drawn), found 17 (1 voxels)": labels,
             "this is no scribble but a dense label map": np.where(some_labels() == NOT_DRAWN, 0, some_labels()),
             "expected the geometry of CT (7 x 6 x 5 voxels": some_labels()[:, :, 1:]}
    for message, array in cases.items():
        node = reordered(volume, some_labels(), (0, 1, 2), (False,) * 3)
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array))
        path = save(node, tmp_path / "map.nrrd")
        with pytest.raises(UserError, match=f"^{path}: .*{message.split('(')[0]}"):
            finished(read_map(path, volume, 16))
    moved = small_ct(rotation(0, 0, 3), "moved")
    path = save(reordered(moved, some_labels(), (0, 1, 2), (False,) * 3), tmp_path / "moved.nrrd")
    with pytest.raises(UserError, match="expected the geometry of CT"):
        finished(read_map(path, volume, 16))
    (tmp_path / "text.nrrd").write_text("no image")
    for name, message in (("text.nrrd", "no readable image"), ("none.nrrd", "no readable image"),
                          ("a.seg.nrrd", "found a segmentation")):
        with pytest.raises(UserError, match=message):
            finished(read_map(tmp_path / name, volume, 16))


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_labels_of_other_types_are_read(make_panel, until, tmp_path, kind):
    volume = small_ct()
    node = slicer.util.addVolumeFromArray(some_labels().astype(kind), ijkToRAS=ijk_to_ras(volume),
                                          nodeClassName="vtkMRMLScalarVolumeNode")
    path = save(node, tmp_path / "map.nrrd")
    assert np.array_equal(finished(read_map(path, volume, 16)), some_labels())
    slicer.util.arrayFromVolume(node)[0, 0, 0] = -1
    with pytest.raises(UserError, match=r"found -1(\.0)? \(1 voxels\)"):
        finished(read_map(save(node, tmp_path / "negative.nrrd"), volume, 16))


def test_a_damaged_packed_file_is_told(tmp_path):
    volume = small_ct()
    finished(save_map(strokes_on(volume, some_labels()), volume, tmp_path / "map.nii.gz"))
    content = (tmp_path / "map.nii.gz").read_bytes()
    for damaged in (content[:40], b"no gzip at all", content[:20] + b"x" * 30 + content[50:]):
        (tmp_path / "damaged.nii.gz").write_bytes(damaged)
        with pytest.raises(UserError, match="no readable image"):
            finished(read_map(tmp_path / "damaged.nii.gz", volume, 16))


# --- cases

@pytest.mark.parametrize(("axes", "matrix"), [
    (None, None), (rotation(12, -7, 30), None), (None, rotation(5, 6, 7)), (None, SHEAR),
], ids=["straight", "oblique", "under a transform", "sheared"])
def test_case_passes_the_librarys_check(tmp_path, capsys, axes, matrix):
    volume = add_ct("CT of M\N{LATIN SMALL LETTER U WITH DIAERESIS}ller", axes=axes)
    if matrix is not None:
        volume.SetAndObserveTransformNodeID(add_transform(matrix, (3, 4, 5)).GetID())
    labels = np.full(phantom()[0].shape, NOT_DRAWN, np.uint8)
    labels[30:36, 20:24, 10:30], labels[44, 5, 5:9] = 1, 0
    strokes = new_strokes(volume, WORD16.organs)
    draw_labelmap(strokes, volume, labels)
    follow_transform(strokes, volume)
    manifest = finished(write_case(strokes, volume, tmp_path, "case"))
    assert main(["check", str(manifest)]) == 0, capsys.readouterr()
    [case] = load_manifest(manifest).cases
    assert case.kind.value == "scribble"
    written, ct = read_labelmap(case.label), read_ct(case.image)
    assert written.grid.same_as(ct.grid, tolerance_mm=1e-3)
    if matrix is None or np.allclose(matrix @ matrix.T, np.eye(3)):
        assert np.array_equal(written.array, labels)
        assert np.array_equal(ct.array, phantom()[0])
    else:  # resampled: the strokes cover the same millimetres
        assert (written.array == 1).sum() * np.prod(written.grid.spacing) == pytest.approx(480 * 125, rel=0.1)
        middle = np.argwhere(written.array == 1).mean(axis=0)[::-1]
        place = (written.grid.origin + written.grid.matrix[:3, :3] @ middle) * (-1, -1, 1)
        expected = matrix @ (ijk_to_ras(volume) @ (19.5, 21.5, 32.5, 1))[:3] + (3, 4, 5)
        assert np.allclose(place, expected, atol=2.5)


def test_entry_and_label_space_of_a_case(tmp_path):
    assert case_entry("a.nrrd", "b.nrrd") == {"image": "a.nrrd", "label": "b.nrrd", "kind": "scribble"}
    volume = add_ct()
    labels = np.full(phantom()[0].shape, NOT_DRAWN, np.uint8)
    labels[LIVER] = 5
    manifest = load_manifest(finished(write_case(strokes_on(volume, labels, SHI5.organs), volume, tmp_path, "case")))
    assert manifest.label_space.names == SHI5.names


def test_a_case_that_fails_leaves_no_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("is the disk full?")

    volume = add_ct()
    strokes = strokes_on(volume, np.full(phantom()[0].shape, NOT_DRAWN, np.uint8))
    monkeypatch.setattr("PartialOrganSegPanel.scribble.files.write_label_layers", full)
    with pytest.raises(OSError, match="disk full"):
        finished(write_case(strokes, volume, tmp_path, "case"))
    assert not list(tmp_path.iterdir())


def test_sheared_ct_is_saved_as_a_case_only(tmp_path):
    volume = small_ct(SHEAR)
    with pytest.raises(UserError, match="found a sheared grid; save it as a case"):
        finished(save_map(strokes_on(volume, some_labels()), volume, tmp_path / "map.nrrd"))
