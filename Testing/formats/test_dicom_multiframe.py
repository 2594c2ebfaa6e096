"""Enhanced multi-frame CT: every frame in its place with its own slope, and what cannot be one volume is told."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless

from PartialOrganSegLib.formats.reading import list_inputs, read_ct
from Testing.helpers.dicom_files import OBLIQUE, PIXEL_MM, PRONE, UPRIGHT, positions_of, write_enhanced, write_slices
from Testing.helpers.listener import Listener
from Testing.helpers.volume_files import body, refused


@pytest.mark.parametrize("axes", [UPRIGHT, OBLIQUE, PRONE])
def test_frames_are_sorted_by_position(tmp_path: Path, axes: tuple) -> None:
    array, listener = body(), Listener()
    order = np.random.default_rng(0).permutation(len(array))
    file = write_enhanced(tmp_path / "Schädel" / "ct", array, axes, order=order)
    for path in (file, file.parent):
        volume = read_ct(path, reporter=listener)
        np.testing.assert_array_equal(volume.array, array)
        assert volume.array.dtype == np.int16
        np.testing.assert_allclose(volume.grid.spacing, (*PIXEL_MM[::-1], 5.0), atol=1e-6)
        np.testing.assert_allclose(volume.grid.origin, (-100, -90, 40))
        np.testing.assert_allclose(np.reshape(volume.grid.direction, (3, 3)).T, [*axes, np.cross(*axes)], atol=1e-6)
    assert listener.warnings == []
    assert list_inputs([file.parent]) == [file.parent]


@pytest.mark.parametrize("slopes", [(2,), (1, 2), (2, 1)])
def test_every_frame_has_its_own_slope(tmp_path: Path, slopes: tuple) -> None:
    array = (body() // 2 * 2).astype(np.int16)
    np.testing.assert_array_equal(read_ct(write_enhanced(tmp_path / "ct.dcm", array, slopes=slopes)).array, array)


def test_compressed_frames_that_share_their_slope(tmp_path: Path) -> None:
    array = (body() // 2 * 2).astype(np.int16)
    file = write_enhanced(tmp_path / "ct.dcm", array, slopes=(2,))
    ct = dcmread(file)
    frames = ct.PerFrameFunctionalGroupsSequence
    # What all frames have in common may stand once for all of them.
    ct.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = frames[0].PixelValueTransformationSequence
    for frame in frames:
        del frame.PixelValueTransformationSequence
    ct.compress(RLELossless)
    ct.save_as(file)
    np.testing.assert_array_equal(read_ct(file).array, array)


def test_series_without_a_uid(tmp_path: Path) -> None:
    array = body()
    np.testing.assert_array_equal(read_ct(write_enhanced(tmp_path / "ct", array, SeriesInstanceUID="")).array, array)
    write_slices(tmp_path / "slices", array, SeriesInstanceUID="")
    np.testing.assert_array_equal(read_ct(tmp_path / "slices").array, array)


def test_uneven_frames_are_told(tmp_path: Path) -> None:
    array, listener = body(), Listener()
    positions = positions_of(len(array))
    positions[6:, 2] += 5
    volume = read_ct(write_enhanced(tmp_path / "ct", array, positions=positions), reporter=listener)
    assert volume.grid.size[2] == len(array) + 1
    assert "from 5.00 to 10.00 mm" in listener.warnings[0]


def test_tilted_frames_are_told_and_put_upright(tmp_path: Path) -> None:
    array, listener = body(), Listener()
    positions = positions_of(len(array))
    positions[:, 1] += 0.8 * np.arange(len(array))
    volume = read_ct(write_enhanced(tmp_path / "ct", array, positions=positions), reporter=listener)
    assert "gantry tilt of 9.1 degrees" in listener.warnings[0]
    # Eleven pixels more: each slice starts one further down.
    assert volume.grid.size == (24, 20 + 11, 12)
    np.testing.assert_array_equal(volume.array[5, 5:25], array[5])


def test_mixed_orientations_are_listed(tmp_path: Path) -> None:
    """One file with axial and sagittal frames: two volumes, of which one is to be chosen."""
    array = body()
    file = write_enhanced(tmp_path / "ct.dcm", np.concatenate([array, array]),
                          positions=np.concatenate([positions_of(12), positions_of(12, ((0, 1, 0), (0, 0, -1)))]))
    ct = dcmread(file)
    for frame in ct.PerFrameFunctionalGroupsSequence:
        frame.PlaneOrientationSequence = ct.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    del ct.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    ct.save_as(file)
    ct = dcmread(file)  # pydicom read the one item into every frame; now each has its own
    for frame in ct.PerFrameFunctionalGroupsSequence[12:]:
        frame.PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    ct.save_as(file)
    refused(file, "2 under one UID, of different study, size, spacing or orientation", "12 slices", "mm, sagittal")
    np.testing.assert_array_equal(read_ct(file, series="1").array, array)


def test_mixed_spacings_of_one_series_are_listed(tmp_path: Path) -> None:
    array = body()
    write_slices(tmp_path / "a", array, SeriesInstanceUID="1.2.3")
    write_slices(tmp_path / "b", array, pixel_mm=(0.5, 0.5), SeriesInstanceUID="1.2.3")
    refused(tmp_path, "2 under one UID", "0.9 x 0.8 x 5 mm", "0.5 x 0.5 x 5 mm")


def test_two_phases_in_one_file_are_listed(tmp_path: Path) -> None:
    array = body()
    places = np.concatenate([positions_of(12)] * 2)
    file = write_enhanced(tmp_path / "ct.dcm", np.concatenate([array, array + 1]), positions=places)
    ct = dcmread(file)
    for frame in ct.PerFrameFunctionalGroupsSequence[12:]:
        frame.FrameContentSequence[0].FrameAcquisitionNumber = 2
    ct.save_as(file)
    refused(file, "acquisition 1", "acquisition 2")
    np.testing.assert_array_equal(read_ct(file, series="2").array, array + 1)


def test_several_files_of_frames_without_places_are_refused(tmp_path: Path) -> None:
    """One frame of each would have been read."""
    for name in ("a.dcm", "b.dcm"):
        ct = dcmread(write_enhanced(tmp_path / name, body(), SeriesInstanceUID="1.2.3", StudyInstanceUID="1.2",
                                    FrameOfReferenceUID="1.3"))
        del ct.PerFrameFunctionalGroupsSequence
        ct.save_as(tmp_path / name)
    refused(tmp_path, "expected one multi-frame file", "2 multi-frame files in one series (a.dcm, b.dcm)")


def test_frames_without_a_place_are_refused(tmp_path: Path) -> None:
    file = write_enhanced(tmp_path / "ct.dcm", body())
    ct = dcmread(file)
    del ct.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    ct.save_as(file)
    refused(file, "ImagePositionPatient", "frame 4")
