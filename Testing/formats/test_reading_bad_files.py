"""Files that are damaged, no CT or doubtful end in one line that names them, or are mended and told."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from PartialOrganSegLib.batch.fingerprint import fingerprint
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.checks import doubtful_ct
from PartialOrganSegLib.formats.reading import list_inputs, read_ct, read_labelmap
from Testing.helpers.listener import Listener
from Testing.helpers.volume_files import body, patched, refused, save


def test_missing_file_and_empty_folder(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.nii.gz", "nothing there")
    refused(tmp_path, "none")
    (tmp_path / "notes.txt").write_text("no images here")
    refused(tmp_path, "none")
    refused(tmp_path / "notes.txt", "another kind of file")


def test_what_is_no_label_map_is_called_by_what_it_is(tmp_path: Path) -> None:
    # Of no format by its name: a label map in NRRD is read nevertheless, by what it holds.
    labels = (body() > 0).astype(np.uint8)
    np.testing.assert_array_equal(read_labelmap(save(tmp_path / "a.nrrd", labels).rename(tmp_path / "a")).array, labels)
    (tmp_path / "notes.txt").write_text("no labels here")
    refused(tmp_path / "notes.txt", "a label map (.nii.gz", "another kind of file", call=read_labelmap)
    (tmp_path / "empty.dcm").write_bytes(b"")
    refused(tmp_path / "empty.dcm", "an empty file", call=read_labelmap)
    (tmp_path / "seg.dcm").write_bytes(bytes(128) + b"DICM" + bytes(500))
    refused(tmp_path / "seg.dcm", "a DICOM file", "'learn' reads", call=read_labelmap)


def test_text_named_nifti_or_nrrd(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    for name in ("a.nii.gz", "a.nii", "a.nrrd", "a.mha"):
        path = tmp_path / name
        path.write_text("this is not an image\n" * 40)
        refused(path)
        path.write_bytes(b"")
        refused(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("length", [-1, -9, 0.98, 0.5, 0.1])
def test_truncated_files_are_never_filled_up(tmp_path: Path, suffix: str, length: float,
                                             capfd: pytest.CaptureFixture) -> None:
    path = save(tmp_path / f"a{suffix}", body())
    raw = path.read_bytes()
    # Negative: so many bytes less; else a share of the file.
    path.write_bytes(raw[:length if length < 0 else int(length * len(raw))])
    if suffix == ".nrrd" and length < 0:  # only gzip's own checksum is cut, which NRRD's reader does not look at
        np.testing.assert_array_equal(read_ct(path).array, body())
    else:
        refused(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("place", [0.5, 0.999])
def test_damaged_compressed_voxels_are_noticed(tmp_path: Path, suffix: str, place: float) -> None:
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(body(shape=(30, 60, 60))), str(path), True)
    raw = bytearray(path.read_bytes())
    # Early and near the end, where only a checksum tells.
    raw[int(place * len(raw))] ^= 0x55
    path.write_bytes(raw)
    refused(path, "" if suffix == ".nrrd" else "damaged")


@pytest.fixture(scope="module")
def sound_nifti(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save(tmp_path_factory.mktemp("whole") / "a.nii", body()).read_bytes()


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_damage_to_a_header_ends_in_a_volume_or_in_one_line(tmp_path_factory: pytest.TempPathFactory,
                                                                sound_nifti: bytes,
                                                                changes: list[tuple[int, int]]) -> None:
    raw = bytearray(sound_nifti)
    for place, value in changes:
        raw[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.nii"
    path.write_bytes(raw)
    volume, message = None, ""
    try:
        volume = read_ct(path, force=True)
    except UserError as error:
        message = str(error)
    if volume is None:
        assert str(path) in message
        assert "\n" not in message
    else:
        assert volume.array.shape == volume.grid.shape
        assert min(volume.grid.spacing) > 0


def test_metaimage_without_its_voxels(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(body()), str(tmp_path / "a.mhd"), True)
    next(tmp_path.glob("a.*raw")).unlink()
    refused(tmp_path / "a.mhd", "no such file")


def test_dimensions_other_than_three(tmp_path: Path) -> None:
    plane, series = body()[0], np.stack([body()] * 4)
    for suffix in (".nii.gz", ".nrrd"):
        refused(save(tmp_path / f"flat{suffix}", plane), "2-D")
        image = sitk.JoinSeries([sitk.GetImageFromArray(volume) for volume in series])
        sitk.WriteImage(image, str(tmp_path / f"four{suffix}"))
        refused(tmp_path / f"four{suffix}", "4 volumes" if suffix == ".nii.gz" else "volumes")
        refused(save(tmp_path / f"one{suffix}", body()[:1]), "24 x 20 x 1")


def test_one_volume_of_a_4d_file_is_a_volume(tmp_path: Path) -> None:
    image = sitk.JoinSeries([sitk.GetImageFromArray(body())])
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(read_ct(tmp_path / "a.nii.gz").array, body())


def test_colours_and_vectors(tmp_path: Path) -> None:
    colours = np.zeros((12, 20, 24, 3), np.uint8)
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        refused(save(tmp_path / f"rgb{suffix}", colours, vector=True), "one number a voxel")


def test_few_nan_become_air_and_many_are_refused(tmp_path: Path) -> None:
    array = body(np.float32)
    array[6, 10, 10:13] = np.nan, np.inf, -np.inf
    listener = Listener()
    volume = read_ct(save(tmp_path / "a.nii.gz", array), reporter=listener)
    assert (volume.array[6, 10, 10:13] == -1024).all()
    assert volume.array.dtype == np.int16
    assert "3 NaN or infinite" in listener.warnings[0]
    array[:3] = np.nan
    refused(save(tmp_path / "b.nii.gz", array), "NaN")


@pytest.mark.parametrize(("value", "found"), [(0.5, "fractions"), (np.nan, "2 voxels NaN or infinite")])
def test_labels_that_are_no_whole_numbers_are_called_by_what_they_are(tmp_path: Path, value: float, found: str) -> None:
    labels = np.zeros((4, 5, 6), np.float32)
    labels[1, 2, 3:5] = value
    refused(save(tmp_path / "é.nii.gz", labels), "whole numbers as labels", found, call=read_labelmap)


@pytest.mark.parametrize("value", [0.0, -1.5, float("nan"), float("inf")])
def test_impossible_spacing(tmp_path: Path, value: float) -> None:
    refused(patched(save(tmp_path / "a.nii", body()), 88, "f", value), "spacing")


def test_zero_spacing_in_other_formats(tmp_path: Path) -> None:
    header = ("NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 24 20 12\n"
              "space directions: (1,0,0) (0,1,0) (0,0,0)\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n")
    path = tmp_path / "a.nrrd"
    path.write_bytes(header.encode() + body().tobytes())
    refused(path, "spacing")


def test_very_thick_slices_are_told(tmp_path: Path) -> None:
    listener = Listener()
    read_ct(save(tmp_path / "a.nii.gz", body(), spacing=(1.0, 1.0, 25.0)), reporter=listener)
    assert "too coarse" in listener.warnings[0]


def sheared(path: Path, shear: float, qform: bool = False) -> Path:
    """A .nii whose sform has axes not at right angles."""
    save(path, body(), spacing=(1.0, 1.0, 1.0), direction=(1, 0, 0, 0, 1, 0, 0, 0, 1))
    # The sform's second number of its first row.
    patched(path, 280 + 4, "f", shear)
    return path if qform else patched(path, 252, "h", 0)


def test_slight_shear_is_mended_and_told(tmp_path: Path) -> None:
    listener = Listener()
    volume = read_ct(sheared(tmp_path / "a.nii", 5e-3), reporter=listener)
    axes = np.asarray(volume.grid.direction).reshape(3, 3)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(axes, np.eye(3), atol=5e-3)
    assert "right angles" in listener.warnings[0]
    refused(sheared(tmp_path / "b.nii", 0.2), "right angles")


def test_conflicting_positions_are_told(tmp_path: Path) -> None:
    listener = Listener()
    read_ct(sheared(tmp_path / "a.nii", 0.2, qform=True), reporter=listener)
    assert "sform and qform" in listener.warnings[0]


def test_doubtful_intensities_are_told_and_read_on_request(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).random((12, 20, 24))
    cases = {
        "mr": ((noise * 600).astype(np.int16), "none negative"),
        "unit": (noise.astype(np.float32), "scaled to 0..1"),
        "normalised": ((noise * 4 - 2).astype(np.float32), "no air"),
        "offset": ((body() + 1024).clip(0).astype(np.uint16), "1024 added"),
        "air": (np.full((12, 20, 24), -1000, np.int16) - (noise > 0.5), "no soft tissue"),
        "constant": (np.full((12, 20, 24), 7, np.int16), "everywhere"),
    }
    for name, (array, reason) in cases.items():
        path = save(tmp_path / f"{name}.nii.gz", array)
        refused(path, reason, "--force")
        listener = Listener()
        read_ct(path, reporter=listener, force=True)
        assert reason in listener.warnings[-1]
    # And a sound CT is none of these.
    assert doubtful_ct(body()) is None


@pytest.mark.parametrize("padding", [-1024, -2000, -3024, -32768])
def test_padding_does_not_pass_for_air(tmp_path: Path, padding: int) -> None:
    """Offset by 1024, air is near 0 and would be soft tissue; the padding would be the air."""
    array = body(shape=(12, 40, 44))
    array[:, :3] = padding
    assert read_ct(save(tmp_path / "right.nii.gz", array)).array.min() == min(padding, -1020)
    array = (body(shape=(12, 40, 44)) + 1024).astype(np.int16)
    array[:, :3] = padding
    refused(save(tmp_path / "wrong.nii.gz", array), "1024 added")


def test_unreadable_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", body())
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    refused(path, "ermission")


@pytest.mark.parametrize(("offset", "kinds", "values"), [
    (256, "3f", (0.0, 0.0, 1.0)), (268, "f", (47.0,)), (76, "f", (-1.0,)), (256, "3f", (0.1, 0.0, 0.0))])
def test_a_qform_that_the_sform_contradicts_is_told(tmp_path: Path, offset: int, kinds: str, values: tuple) -> None:
    """Whichever of the two ITK takes; before, it was only told where ITK took the qform."""
    path = save(tmp_path / "a.nii", body())
    listener = Listener()
    sound = read_ct(path, reporter=listener).grid
    assert not listener.warnings
    volume = read_ct(patched(path, offset, kinds, *values), reporter=listener)
    assert "two different positions (sform and qform)" in listener.warnings[0]
    assert volume.grid.same_as(sound, 0.01) == ("the sform is used" in listener.warnings[0])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
@pytest.mark.parametrize("call", [read_ct, read_labelmap, fingerprint, lambda path: list_inputs([path])])
def test_a_pipe_or_device_is_one_line(tmp_path: Path, call: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii").symlink_to("/dev/zero")
    for path in (tmp_path / "a.nii.gz", tmp_path / "b.nii"):
        refused(path, "a pipe, a device or a socket", call=call)


def test_a_nrrd_axis_that_is_no_place_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nrrd", body())
    raw = path.read_bytes()
    assert b"kinds: domain domain domain" in raw
    path.write_bytes(raw.replace(b"kinds: domain domain domain", b"kinds: domain domain time"))
    refused(path, "kinds", "three axes in space", "time")
