"""Volumes come in with their exact voxels and places, and bad files end in one line that names them."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from real_data import real_data_path

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.checks import doubtful_ct, padding_to_air
from PartialOrganSegLib.formats.reading import list_inputs, read_ct, read_labelmap

TILTED = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)


class Listener(Reporter):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)


def body(dtype: type = np.int16, shape: tuple[int, int, int] = (12, 20, 24)) -> np.ndarray:
    """Noisy soft tissue in air."""
    noise = np.random.default_rng(0).integers(-20, 20, shape)
    array = np.full(shape, -1000) + noise
    array[2:-2, 4:-4, 4:-4] += 1040
    return array.astype(dtype)


def save(path: Path, array: np.ndarray, spacing: tuple = (0.8, 0.9, 5.0), direction: tuple | None = None,
         vector: bool = False) -> Path:
    image = sitk.GetImageFromArray(array, isVector=vector)
    if image.GetDimension() == 3:
        image.SetSpacing(spacing)
        image.SetOrigin((-10.0, 20.0, 300.5))
        image.SetDirection(direction or TILTED)
    sitk.WriteImage(image, str(path), path.name.endswith(("gz", "nrrd")))
    return path


def patched(path: Path, offset: int, kinds: str, *values: float) -> Path:
    """A .nii file with numbers of its header replaced."""
    raw = bytearray(path.read_bytes())
    struct.pack_into("<" + kinds, raw, offset, *values)
    path.write_bytes(raw)
    return path


def refused(path: Path, *words: str, call=read_ct, **arguments) -> str:
    """The one line of the UserError, which names the file, `expected`, `found` and all `words`."""
    with pytest.raises(UserError) as caught:
        call(path, **arguments)
    text = str(caught.value)
    assert "\n" not in text
    for word in (path.name, "expected", "found", *words):
        assert word in text
    return text


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"])
def test_files_keep_voxels_and_places(tmp_path: Path, suffix: str) -> None:
    array = body()
    volume = read_ct(save(tmp_path / f"CT Müller 1{suffix}", array))
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == np.int16
    np.testing.assert_allclose(volume.grid.spacing, (0.8, 0.9, 5.0), rtol=1e-6)
    np.testing.assert_allclose(volume.grid.origin, (-10.0, 20.0, 300.5), rtol=1e-6)
    np.testing.assert_allclose(volume.grid.direction, TILTED, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.float32, np.float64])
def test_whole_numbers_become_int16_without_loss(tmp_path: Path, dtype: type) -> None:
    volume = read_ct(save(tmp_path / "a.nii.gz", body(dtype)))
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, body())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_unsigned_values_are_kept_on_request(tmp_path: Path, dtype: type) -> None:
    array = np.clip(body() + 1000, 0, 255).astype(dtype)
    listener = Listener()
    volume = read_ct(save(tmp_path / "a.nrrd", array), force=True, reporter=listener)
    np.testing.assert_array_equal(volume.array, array)
    assert "does not look like a CT" in listener.warnings[0]


def test_fractions_become_float32(tmp_path: Path) -> None:
    array = body(np.float64) + 0.25
    volume = read_ct(save(tmp_path / "a.nii.gz", array))
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, array.astype(np.float32))


def test_nifti_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    path = patched(save(tmp_path / "a.nii", body() + 1024), 112, "2f", 1.0, -1024.0)
    np.testing.assert_array_equal(read_ct(path).array, body())
    path = patched(save(tmp_path / "b.nii", (body() * 2).astype(np.int16)), 112, "2f", 0.5, 0.25)
    np.testing.assert_allclose(read_ct(path).array, body() + 0.25)


def test_big_endian_nifti(tmp_path: Path) -> None:
    """Written by hand: header fields and voxels in the other byte order."""
    array = body()
    header = bytearray(352)
    struct.pack_into(">i", header, 0, 348)
    struct.pack_into(">8h", header, 40, 3, *array.shape[::-1], 1, 1, 1, 1)
    struct.pack_into(">hh", header, 70, 4, 16)
    struct.pack_into(">8f", header, 76, 1, 2, 2, 3, 0, 0, 0, 0)
    struct.pack_into(">3f", header, 108, 352, 1, 0)
    struct.pack_into(">hh", header, 252, 0, 1)
    struct.pack_into(">12f", header, 280, -2, 0, 0, 7, 0, -2, 0, 8, 0, 0, 3, 9)
    header[344:348] = b"n+1\0"
    path = tmp_path / "big.nii"
    path.write_bytes(bytes(header) + array.astype(">i2").tobytes())
    volume = read_ct(path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.grid.spacing == (2, 2, 3)
    assert volume.grid.origin == (-7, -8, 9)


def test_real_files_read_as_itk_reads_them() -> None:
    folder = real_data_path("ct", "totalseg_example")
    for name, read in (("image.nii.gz", read_ct), ("label.nii.gz", read_labelmap)):
        volume, image = read(folder / name), sitk.ReadImage(str(folder / name))
        np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
        assert volume.grid.origin == image.GetOrigin()
        assert volume.grid.direction == image.GetDirection()


def test_padding_is_kept_and_can_be_raised_to_air(tmp_path: Path) -> None:
    array = body()
    array[:, :2] = -3024
    volume = read_ct(save(tmp_path / "a.nii.gz", array))
    assert volume.array.min() == -3024
    air = padding_to_air(volume.array)
    assert air.min() == -1024
    assert air.dtype == np.int16
    assert padding_to_air(array.astype(np.float32)).dtype == np.float32


# Bad files -----------------------------------------------------------------------------------------------------------

def test_missing_file_and_empty_folder(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.nii.gz", "nothing there")
    refused(tmp_path, "none")
    (tmp_path / "notes.txt").write_text("no images here")
    refused(tmp_path, "none")
    refused(tmp_path / "notes.txt", "another kind of file")


def test_text_named_nifti_or_nrrd(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    for name in ("a.nii.gz", "a.nii", "a.nrrd", "a.mha"):
        path = tmp_path / name
        path.write_text("this is not an image\n" * 40)
        refused(path)
        path.write_bytes(b"")
        refused(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("kept", [-1, -9, 0.98, 0.5, 0.1])
def test_truncated_files_are_never_filled_up(tmp_path: Path, suffix: str, kept: float,
                                             capfd: pytest.CaptureFixture) -> None:
    path = save(tmp_path / f"a{suffix}", body())
    raw = path.read_bytes()
    path.write_bytes(raw[:kept if kept < 0 else int(kept * len(raw))])
    if suffix == ".nrrd" and kept < 0:  # only gzip's own checksum is cut, which NRRD's reader does not look at
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
    raw[int(place * len(raw))] ^= 0x55
    path.write_bytes(raw)
    refused(path, "" if suffix == ".nrrd" else "damaged")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save(tmp_path_factory.mktemp("whole") / "a.nii", body()).read_bytes()


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_damage_to_a_header_ends_in_a_volume_or_in_one_line(tmp_path_factory: pytest.TempPathFactory, whole: bytes,
                                                                changes: list[tuple[int, int]]) -> None:
    raw = bytearray(whole)
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
        image = sitk.JoinSeries([sitk.GetImageFromArray(one) for one in series])
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
    assert doubtful_ct(body()) is None


def test_unreadable_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", body())
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    refused(path, "ermission")


def test_labelmaps(tmp_path: Path) -> None:
    labels = np.zeros((12, 20, 24), np.int32)
    labels[3:6] = 16
    assert read_labelmap(save(tmp_path / "a.nii.gz", labels)).array.dtype == np.uint8
    assert read_labelmap(save(tmp_path / "b.nii.gz", labels.astype(np.float32))).array.dtype == np.uint8
    labels[0] = 1000
    assert read_labelmap(save(tmp_path / "c.nii.gz", labels)).array.dtype == np.uint16
    refused(save(tmp_path / "d.nii.gz", labels - 1), "labels from 0", call=read_labelmap)
    refused(save(tmp_path / "e.nii.gz", labels + 0.5), "whole numbers", call=read_labelmap)
    refused(tmp_path / "none.nii.gz", "nothing there", call=read_labelmap)
    refused(tmp_path, "a folder", call=read_labelmap)


def test_inputs_of_files_and_folders(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.nrrd", "a.seg.nrrd", ".hidden.nii.gz", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert list_inputs([tmp_path]) == [tmp_path / "a.nrrd", tmp_path / "b.nii.gz"]
    assert list_inputs([tmp_path / "b.nii.gz", tmp_path]) == [tmp_path / "b.nii.gz", tmp_path / "a.nrrd"]
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, "none", call=lambda path: list_inputs([path]))
    refused(tmp_path / "no", "nothing there", call=lambda path: list_inputs([path]))


def test_series_of_a_file_is_refused(tmp_path: Path) -> None:
    refused(save(tmp_path / "a.nii.gz", body()), "--series", series="2")
