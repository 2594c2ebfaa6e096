"""Volumes come in with their exact voxels and places."""

import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from PartialOrganSegLib.formats.checks import padding_to_air
from PartialOrganSegLib.formats.reading import list_inputs, read_ct, read_labelmap
from Testing.helpers.listener import Listener
from Testing.helpers.real_data import real_data_path
from Testing.helpers.volume_files import TILTED, body, patched, refused, save


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
    # Data type 4 is int16 of 16 bits.
    struct.pack_into(">hh", header, 70, 4, 16)
    struct.pack_into(">8f", header, 76, 1, 2, 2, 3, 0, 0, 0, 0)
    struct.pack_into(">3f", header, 108, 352, 1, 0)
    struct.pack_into(">hh", header, 252, 0, 1)
    # NIfTI's x and y run against those of LPS: both change their sign.
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


def test_labelmaps(tmp_path: Path) -> None:
    labels = np.zeros((12, 20, 24), np.int32)
    labels[3:6] = 16
    assert read_labelmap(save(tmp_path / "a.nii.gz", labels)).array.dtype == np.uint8
    assert read_labelmap(save(tmp_path / "b.nii.gz", labels.astype(np.float32))).array.dtype == np.uint8
    labels[0] = 1000
    assert read_labelmap(save(tmp_path / "c.nii.gz", labels)).array.dtype == np.uint16
    # A negative label is a mask with another meaning, or a CT by mistake.
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


def test_files_that_lie_a_folder_deeper_are_named_in_the_hint(tmp_path: Path) -> None:
    patients = tmp_path / "patients"
    for name in ("a", "b"):
        (patients / name).mkdir(parents=True)
        (patients / name / "image.nii.gz").write_bytes(b"x")
    refused(patients, str(patients / "*" / "image.nii.gz"), call=lambda path: list_inputs([path]))


def test_series_of_a_file_is_refused(tmp_path: Path) -> None:
    refused(save(tmp_path / "a.nii.gz", body()), "--series", series="2")
