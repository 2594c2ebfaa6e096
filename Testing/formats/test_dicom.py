"""DICOM folders: the right series, slices in the right order and place, gaps and tilt told and made good."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.dicom_series import list_series
from PartialOrganSegLib.formats.reading import list_inputs, read_ct
from Testing.helpers.listener import Listener
from Testing.helpers.real_data import real_data_path
from Testing.helpers.volume_files import body, refused

UPRIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
OBLIQUE = ((0.96, 0.28, 0.0), (-0.28 * 0.8, 0.96 * 0.8, 0.6))


def write_series(folder: Path, array: np.ndarray, positions: np.ndarray | None = None, uid: str = "1.2.3",
                 axes: tuple = UPRIGHT, compressor: str = "", suffix: str = ".dcm", slopes: tuple = (1,),
                 **tags: str) -> Path:
    """A CT series, one file a slice, file names in an order of their own. Tags such as d0008_103e="Abdomen"."""
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(*axes)
    if positions is None:
        positions = np.array([-100.0, -90.0, 40.0]) + 5.0 * np.arange(len(array))[:, None] * normal
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    if compressor:
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
    # Names say nothing about the order of slices; whoever sorts by name gets another volume.
    order = np.random.default_rng(3).permutation(len(array))
    for number, (plane, position) in enumerate(zip(array, positions, strict=True)):
        slope = slopes[number % len(slopes)]
        # GDCM writes what is stored = (value - intercept) / slope by itself.
        image = sitk.GetImageFromArray(plane)
        image.SetSpacing((0.9, 0.8))
        values = {"0008|0060": "CT", "0008|0008": "ORIGINAL\\PRIMARY\\AXIAL", "0008|103e": "Abdomen",
                  "0020|000e": uid, "0020|000d": "1.2", "0008|0018": f"{uid or '1.9'}.{number + 1}",
                  "0020|0013": str(number + 1), "0020|0032": "\\".join(f"{p:.4f}" for p in position),
                  "0020|0037": "\\".join(f"{c:.6f}" for axis in axes for c in axis),
                  "0028|1052": "-1024", "0028|1053": str(slope),
                  **{key[1:].replace("_", "|"): value for key, value in tags.items()}}
        for key, value in values.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"im{order[number]:03d}{suffix}"))
        writer.Execute(image)
    return folder


def places(array: np.ndarray, start: float = 40.0, step: float = 5.0) -> np.ndarray:
    """Positions of an upright series."""
    return np.array([[-100.0, -90.0, start + step * k] for k in range(len(array))])


def without(folder: Path, *numbers: int) -> None:
    """Removes slices by their instance number."""
    for series in list_series(folder):
        for dicom_slice in series.slices:
            if int(dicom_slice.tags["0020|0013"]) in numbers:
                dicom_slice.file.unlink()


@pytest.mark.parametrize("axes", [UPRIGHT, OBLIQUE])
def test_slices_are_sorted_by_position(tmp_path: Path, axes: tuple) -> None:
    array, listener = body(), Listener()
    volume = read_ct(write_series(tmp_path / "Schädel CT", array, axes=axes, suffix=""), reporter=listener)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == np.int16
    np.testing.assert_allclose(volume.grid.spacing, (0.9, 0.8, 5.0), atol=1e-4)
    np.testing.assert_allclose(volume.grid.origin, (-100, -90, 40))
    np.testing.assert_allclose(np.asarray(volume.grid.direction).reshape(3, 3).T, [*axes, np.cross(*axes)], atol=1e-5)
    assert listener.warnings == []


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_compressed_slices(tmp_path: Path, compressor: str) -> None:
    array = body()
    write_series(tmp_path, array, compressor=compressor)
    np.testing.assert_array_equal(read_ct(tmp_path).array, array)


def test_every_slice_has_its_own_rescale_slope(tmp_path: Path) -> None:
    # Even values alone can be stored with a slope of 2.
    array = (body() // 2 * 2).astype(np.int16)
    write_series(tmp_path, array, slopes=(1, 2))
    np.testing.assert_array_equal(read_ct(tmp_path).array, array)


def test_real_series_with_an_empty_uid() -> None:
    folder, listener = real_data_path("dicom", "ct_20slices"), Listener()
    volume = read_ct(folder, reporter=listener)
    # ITK's own reader of series, which has no checks, gives the voxels to compare with.
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(volume.grid.origin, image.GetOrigin())
    np.testing.assert_allclose(volume.grid.spacing, image.GetSpacing())
    assert listener.warnings == []
    assert list_inputs([folder]) == [folder]


def test_series_in_subfolders_is_found(tmp_path: Path) -> None:
    array = body()
    write_series(tmp_path / "patient" / "study" / "series", array)
    (tmp_path / "patient" / "report.txt").write_text("nothing to see")
    np.testing.assert_array_equal(read_ct(tmp_path).array, array)
    assert list_inputs([tmp_path]) == [tmp_path / "patient"]


def test_two_series_are_listed_and_chosen(tmp_path: Path) -> None:
    first, second = body(), body(shape=(9, 20, 24))
    write_series(tmp_path / "a", first, uid="1.2.3", d0008_103e="Abdomen", d0020_0011="2")
    write_series(tmp_path / "b", second, uid="1.2.4", d0008_103e="Thorax", d0020_0011="3")
    refused(tmp_path, "--series", "1: 'Abdomen', CT, 12 slices, 0.9 x 0.8 x 5 mm", "2: 'Thorax', CT, 9 slices")
    for choice in ("2", "1.2.4", "thorax"):
        np.testing.assert_array_equal(read_ct(tmp_path, series=choice).array, second)
    np.testing.assert_array_equal(read_ct(tmp_path, series="1").array, first)
    for choice in ("3", "Pelvis"):
        refused(tmp_path, "none of that", f"'{choice}'", series=choice)


def test_series_without_uid_are_told_apart(tmp_path: Path) -> None:
    write_series(tmp_path / "a", body(), uid="", d0008_103e="Abdomen")
    write_series(tmp_path / "b", body(), uid="", d0008_103e="Thorax")
    refused(tmp_path, "Abdomen", "Thorax")


def test_scouts_and_other_modalities_are_left_out_and_told(tmp_path: Path) -> None:
    array, listener = body(), Listener()
    write_series(tmp_path / "ct", array)
    write_series(tmp_path / "scout", body(shape=(2, 50, 24)), uid="1.2.9", d0008_0008="ORIGINAL\\PRIMARY\\LOCALIZER")
    write_series(tmp_path / "pet", body(shape=(6, 10, 10)), uid="1.2.8", d0008_0060="PT", d0008_103e="PET")
    np.testing.assert_array_equal(read_ct(tmp_path, reporter=listener).array, array)
    assert "left out" in listener.warnings[0]
    assert "localizer" in listener.warnings[0]
    assert "'PET', PT" in listener.warnings[0]


def test_scout_of_the_same_series_is_separated(tmp_path: Path) -> None:
    array = body()
    write_series(tmp_path / "ct", array)
    write_series(tmp_path / "scout", body(shape=(1, 50, 24)))
    np.testing.assert_array_equal(read_ct(tmp_path, reporter=Listener()).array, array)


def test_two_phases_of_one_series_are_listed(tmp_path: Path) -> None:
    write_series(tmp_path / "a", body(), d0020_0012="1")
    write_series(tmp_path / "b", body() + 1, d0020_0012="2")
    refused(tmp_path, "acquisition 1", "acquisition 2")
    np.testing.assert_array_equal(read_ct(tmp_path, series="Abdomen acquisition 2").array, body() + 1)


@pytest.mark.parametrize("second", [
    {"d0010_0020": "patient 2"}, {"d0010_0010": "Roe^Jane"}, {"d0020_000d": "1.7"}, {"d0020_0052": "1.8"}])
@pytest.mark.parametrize("uid", ["", "1.2.3"])
@pytest.mark.parametrize("shift", [0.0, 2.5])
def test_series_of_two_patients_are_never_joined(tmp_path: Path, second: dict[str, str], uid: str,
                                                 shift: float) -> None:
    """Where an anonymiser removed the UIDs or made them all alike; shifted, the slices would make a regular volume."""
    first = {"d0010_0020": "patient 1", "d0010_0010": "Doe^John", "d0020_0052": "1.3"}
    array = body()
    write_series(tmp_path / "a", array, uid=uid, **first)
    write_series(tmp_path / "b", array + 1, places(array, 40.0 + shift), uid=uid, **{**first, **second})
    expected = ["expected one CT series", "12 slices"]
    if {"d0010_0020", "d0010_0010"} & second.keys():
        expected += ["2 of 2 patients", f"first file {Path('b') / 'im000.dcm'}"]
    refused(tmp_path, *expected)
    values = {tuple(read_ct(tmp_path, series=number).array[:2, 0, 0]) for number in "12"}
    assert values == {tuple(array[:2, 0, 0]), tuple(array[:2, 0, 0] + 1)}


@pytest.mark.parametrize("shift", [0.0, 2.5])
def test_scans_without_any_identifier_are_told_apart_by_their_folders(tmp_path: Path, shift: float) -> None:
    array = body()
    write_series(tmp_path / "a", array, uid="", d0008_0018="")
    write_series(tmp_path / "b", array + 1, places(array, 40.0 + shift), uid="", d0008_0018="")
    refused(tmp_path, "Abdomen folder a", "Abdomen folder b")
    np.testing.assert_array_equal(read_ct(tmp_path, series="Abdomen folder b").array, array + 1)
    for file in (tmp_path / "b").iterdir():
        file.rename(tmp_path / "a" / f"b_{file.name}")
    refused(tmp_path, "slices without a Series Instance UID", "put every scan into a folder of its own")


def test_a_scan_without_uid_may_lie_in_several_folders(tmp_path: Path) -> None:
    array = body()
    write_series(tmp_path / "all", array, uid="")
    (tmp_path / "more").mkdir()
    for file in sorted((tmp_path / "all").iterdir())[::2]:
        file.rename(tmp_path / "more" / file.name)
    np.testing.assert_array_equal(read_ct(tmp_path).array, array)


def test_phases_between_each_others_slices_are_listed(tmp_path: Path) -> None:
    array = body()
    write_series(tmp_path / "a", array, d0020_0012="1")
    write_series(tmp_path / "b", array + 1, places(array, 42.5), d0020_0012="2")
    refused(tmp_path, "acquisition 1", "acquisition 2")
    np.testing.assert_array_equal(read_ct(tmp_path, series="Abdomen acquisition 2").array, array + 1)


def test_acquisitions_that_follow_each_other_are_one_scan(tmp_path: Path) -> None:
    array = body()
    # Scanners begin a new acquisition in the middle of one breath-hold.
    for number, (start, stop) in enumerate([(0, 5), (5, 6), (6, 12)], 1):
        write_series(tmp_path / f"{number}", array[start:stop], places(array)[start:stop], d0020_0012=str(number))
    np.testing.assert_array_equal(read_ct(tmp_path).array, array)


def test_duplicated_slices_are_left_out_and_told(tmp_path: Path) -> None:
    array, listener = body(), Listener()
    write_series(tmp_path / "a", array)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    np.testing.assert_array_equal(read_ct(tmp_path, reporter=listener).array, array)
    assert "12 slices lie where another one does" in listener.warnings[0]


def test_missing_slices_are_told_and_filled(tmp_path: Path) -> None:
    ramp = body().astype(np.float64)
    # Values that grow evenly with the height: what is filled in can be told exactly.
    ramp = (ramp[:1] + 0 * ramp + 2.0 * np.arange(12)[:, None, None]).astype(np.int16)
    ramp[:, 5:15, 5:15] += 1000
    listener = Listener()
    write_series(tmp_path, ramp)
    without(tmp_path, 5, 6)
    volume = read_ct(tmp_path, reporter=listener)
    np.testing.assert_array_equal(volume.array, ramp)
    assert volume.grid.spacing[2] == pytest.approx(5)
    assert "2 slices are missing" in listener.warnings[0]
    assert "between z = 55.0 and 70.0 mm" in listener.warnings[0]


def test_uneven_distances_come_onto_a_regular_grid(tmp_path: Path) -> None:
    """Thick slices above thin ones: values that grow with the height stay where they are in the patient."""
    heights = np.array([0, 2, 4, 6, 8, 10, 12, 14, 19, 24, 29], float)
    array = np.broadcast_to((10 * heights)[:, None, None], (11, 20, 24)).astype(np.int16).copy()
    array[:, :5] = -1000
    positions = np.array([[-100.0, -90.0, 40 + height] for height in heights])
    listener = Listener()
    volume = read_ct(write_series(tmp_path, array, positions), reporter=listener)
    assert volume.grid.spacing[2] == pytest.approx(2)
    height = np.arange(len(volume.array)) * 2.0
    np.testing.assert_allclose(volume.array[:-1, 12, 12], 10 * height[:-1], atol=0.51)
    # The last height need not fall on the grid of 2 mm.
    assert abs(height[-1] - 29) <= 1
    assert "from 2.00 to 5.00 mm" in listener.warnings[0]


def test_rounded_positions_are_regular(tmp_path: Path) -> None:
    """Headers round positions: steps of 4/3 mm written with one decimal are no gap."""
    array = body()
    positions = places(array)
    positions[:, 2] = np.round(40 + np.arange(12) / 3 * 4, 1)
    listener = Listener()
    volume = read_ct(write_series(tmp_path, array, positions), reporter=listener)
    assert listener.warnings == []
    np.testing.assert_array_equal(volume.array, array)


def test_gantry_tilt_is_told_and_put_upright(tmp_path: Path) -> None:
    """A rod along the patient's z axis, scanned with slices that each start 2 pixels further down."""
    array = np.full((12, 40, 24), -1000, np.int16)
    positions = places(array)
    for k in range(12):
        positions[k, 1] -= 1.6 * k
        array[k, 10 + 2 * k:14 + 2 * k, 8:16] = 40
    listener = Listener()
    volume = read_ct(write_series(tmp_path, array, positions), reporter=listener)
    assert "gantry tilt of 17.7 degrees" in listener.warnings[0]
    rod = volume.array == 40
    # No voxel was interpolated: the tilt is a whole number of pixels a slice.
    assert rod.sum() == 12 * 4 * 8
    assert (rod == rod[0]).all()
    row = int(np.argmax(rod[0].any(axis=1)))
    assert (volume.grid.matrix @ [8, row, 0, 1])[:3] == pytest.approx((-100 + 8 * 0.9, -90 + 10 * 0.8, 40))


def test_tilt_by_parts_of_a_pixel(tmp_path: Path) -> None:
    array = body()
    positions = places(array)
    positions[:, 0] += np.linspace(0, 1.3, 12)
    volume = read_ct(write_series(tmp_path, array, positions), reporter=Listener())
    assert volume.grid.size == (26, 20, 12)
    np.testing.assert_array_equal(volume.array[0, :, :24], array[0])
    assert np.abs(volume.array[11, 2:-2, 6:18].mean() - array[11, 2:-2, 5:17].mean()) < 20


def test_far_gaps_are_refused(tmp_path: Path) -> None:
    array = body()
    positions = places(array)
    positions[6:, 2] += 300
    refused(write_series(tmp_path, array, positions), "widest gap between z = 65.0 and 370.0 mm")


def test_one_slice_is_no_volume(tmp_path: Path) -> None:
    write_series(tmp_path, body()[:1])
    refused(tmp_path, "single slice")
    refused(next(tmp_path.iterdir()), "single slice", "folder")


def test_one_file_with_all_slices(tmp_path: Path) -> None:
    array = body()
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.9, 0.8, 5.0))
    image.SetMetaData("0008|0060", "CT")
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetFileName(str(tmp_path / "frames.dcm"))
    writer.Execute(image)
    for path in (tmp_path, tmp_path / "frames.dcm"):
        volume = read_ct(path)
        np.testing.assert_array_equal(volume.array, array)
        np.testing.assert_allclose(volume.grid.spacing, (0.9, 0.8, 5.0))


def test_damaged_slice_is_named(tmp_path: Path) -> None:
    write_series(tmp_path, body())
    # Cut within the pixels: the header is whole, and a lenient reader would fill up with zeros.
    victim = tmp_path / "im004.dcm"
    victim.write_bytes(victim.read_bytes()[:-300])
    with pytest.raises(UserError, match=r"im004\.dcm: expected a whole CT slice, found a damaged"):
        read_ct(tmp_path)


def test_other_modality_is_told(tmp_path: Path) -> None:
    listener = Listener()
    read_ct(write_series(tmp_path, body(), d0008_0060="MR"), reporter=listener)
    assert "expected modality CT, found MR" in listener.warnings[0]
