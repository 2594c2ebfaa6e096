"""One CT, however it comes, gives the same labels on its own grid; a result is saved and shown."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.itk import image_of
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.writing import write_ct
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from Testing.helpers.dicom_files import OBLIQUE, write_slices
from Testing.helpers.listener import Listener
from Testing.helpers.threshold_network import LEVELS, threshold_bundle

# Voxel axes to the patient's right, feet and front: nothing is as in LPS.
TURNED = (-1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, -1.0, 0.0)


def ct_of(direction: tuple[float, ...] = TURNED) -> Volume:
    """A body with liver and spleen, on a grid of three different spacings."""
    array = np.full((36, 40, 44), -1000, np.int16)
    array[4:-4, 4:-4, 4:-4] = 0
    array[8:20, 8:30, 8:20] = LEVELS["liver"]
    array[10:22, 10:24, 28:38] = LEVELS["spleen"]
    return Volume(array, Grid((44, 40, 36), (3.0, 4.0, 5.0), (10.0, -20.0, 30.0), direction))


def segmenter(folder: Path, **options: object) -> Segmenter:
    """One whose network's answer is known."""
    predictor = Predictor(threshold_bundle(folder), "cpu", precision="float32")
    return Segmenter(SegmentOptions(device="cpu", **options), predictor)


@pytest.fixture
def ct() -> Volume:
    return ct_of()


def test_every_kind_of_input_gives_the_same_labels(tmp_path: Path, ct: Volume) -> None:
    run = segmenter(tmp_path)
    write_ct(tmp_path / "ct.nrrd", ct)
    grid = ct.grid
    expected = run(ct)
    assert (expected.array == WORD16.index("liver")).sum() > 0.9 * 12 * 22 * 12
    results = [
        run(tmp_path / "ct.nrrd"), run(str(tmp_path / "ct.nrrd")), run(image_of(ct)), run(ct.array, grid=grid),
        # Voxels and geometry apart, as tuples, lists or NumPy arrays: what other libraries hand over.
        run(ct.array.astype(np.float64), spacing=grid.spacing, origin=grid.origin, direction=grid.direction),
        run(ct.array, spacing=list(grid.spacing), origin=np.array(grid.origin),
            direction=np.array(grid.direction).reshape(3, 3)),
    ]
    for result in results:
        assert result.labels.grid.same_as(grid)
        np.testing.assert_array_equal(result.array, expected.array)
        assert result.array.dtype == np.uint8


def test_direction_of_an_array_matters(tmp_path: Path, ct: Volume) -> None:
    grid = segmenter(tmp_path)(ct.array, spacing=ct.grid.spacing).labels.grid
    assert grid == Grid(ct.grid.size, ct.grid.spacing)


def test_a_dicom_folder_is_a_ct_and_becomes_dicom(tmp_path: Path) -> None:
    folder = write_slices(tmp_path / "series", ct_of().array, axes=OBLIQUE)
    result = segmenter(tmp_path)(folder)
    assert result.labels.grid == read_ct(folder).grid
    files = result.save(tmp_path / "organs.rtstruct.dcm")
    assert files == {"rtstruct": tmp_path / "organs.rtstruct.dcm"}
    assert files["rtstruct"].read_bytes()[128:132] == b"DICM"


def test_reports_have_volumes_checks_and_seconds(tmp_path: Path, ct: Volume) -> None:
    run = segmenter(tmp_path, precision="float32")
    result = run(ct)
    assert repr(result) == "<SegmentResult of threshold: 2 of 16 organs, 44 x 40 x 36 voxels>"
    assert list(result.organs) == list(WORD16.names)
    liver = result.organs["liver"]
    assert liver.volume_ml == pytest.approx((result.array == 1).sum() * 3 * 4 * 5 / 1000)
    assert result.organs["pancreas"].volume_ml == 0
    # An organ without a voxel is not silently absent: its check says so.
    assert result.organs["pancreas"].checks
    assert set(result.entropy) >= {"liver", "spleen"}
    assert set(result.seconds) >= {"read", "resample", "forward"}
    assert all(value >= 0 for value in result.seconds.values())
    assert result.precision == "float32"
    assert result.ct.array is ct.array


def test_chosen_organs_alone_are_written_and_reported(tmp_path: Path, ct: Volume) -> None:
    result = segmenter(tmp_path, organs="spleen")(ct)
    assert list(result.organs) == ["spleen"]
    assert set(np.unique(result.array)) == {0, WORD16.index("spleen")}


def test_one_file_holds_what_its_name_says(tmp_path: Path, ct: Volume) -> None:
    result = segmenter(tmp_path)(ct)
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        assert result.save(tmp_path / "new" / name) == {"labelmap": tmp_path / "new" / name}
        stored = read_labelmap(tmp_path / "new" / name)
        np.testing.assert_array_equal(stored.array, result.array)
        assert stored.grid.same_as(ct.grid)
    result.save(tmp_path / "new" / "a.seg.nrrd")
    image = sitk.ReadImage(str(tmp_path / "new" / "a.seg.nrrd"))
    assert image.GetMetaData("Segment0_ID") == "liver"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.mha", "a.nii.gz", "a.nrrd", "a.seg.nrrd"]


def test_a_folder_holds_the_files_of_the_command(tmp_path: Path, ct: Volume) -> None:
    write_ct(tmp_path / "scan 1.nii.gz", ct)
    result = segmenter(tmp_path)(tmp_path / "scan 1.nii.gz")
    files = result.save(tmp_path / "out")
    assert {kind: path.name for kind, path in files.items()} == {
        "labelmap": "scan 1.labels.nii.gz", "segmentation": "scan 1.seg.nrrd", "table": "scan 1.volumes.csv",
        "preview": "scan 1.preview.png"}
    assert all(path.is_file() for path in files.values())
    # No hidden or temporary file beside the four.
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert (tmp_path / "out" / "ours.labels.nii.gz") in segmenter(tmp_path, preview=False)(ct).save(
        tmp_path / "out", name="ours").values()


def test_earlier_results_are_kept_unless_asked(tmp_path: Path, ct: Volume) -> None:
    result, file = segmenter(tmp_path)(ct), tmp_path / "a.nii.gz"
    file.write_text("mine")
    with pytest.raises(UserError, match="found an earlier result"):
        result.save(file)
    assert file.read_text() == "mine"
    result.save(file, overwrite=True)
    assert read_labelmap(file).grid.same_as(ct.grid)
    segmenter(tmp_path, overwrite=True)(ct).save(file)


def test_replacing_a_result_leaves_no_other_kinds_of_it(tmp_path: Path) -> None:
    series = write_slices(tmp_path / "series", ct_of().array, axes=OBLIQUE)
    listener = Listener()
    files = segmenter(tmp_path, dicom=("seg", "rtstruct"))(series).save(tmp_path / "out")
    labels_alone = segmenter(tmp_path, preview=False)(series)
    # A clinic's own structure set of the same name, and a result that somebody worked on.
    structure_set = pydicom.dcmread(files["rtstruct"])
    structure_set.Manufacturer = "Planning Inc."
    structure_set.save_as(files["rtstruct"])
    # Changed an hour after it was written: somebody's work now.
    os.utime(files["preview"], (time.time() + 3600,) * 2)
    labels_alone.save(tmp_path / "out", overwrite=True, reporter=listener)
    assert not files["seg"].exists()
    assert files["rtstruct"].is_file()
    assert files["preview"].is_file()
    assert len(listener.warnings) == 2
    assert all("another segmentation" in warning for warning in listener.warnings)


def test_the_ct_is_never_written_over(tmp_path: Path, ct: Volume) -> None:
    write_ct(tmp_path / "ct.nrrd", ct)
    result = segmenter(tmp_path, overwrite=True)(tmp_path / "ct.nrrd")
    with pytest.raises(UserError, match="expected another file than the CT's"):
        result.save(tmp_path / "ct.nrrd")
    np.testing.assert_array_equal(read_ct(tmp_path / "ct.nrrd").array, ct.array)


def test_what_cannot_become_dicom_says_so(tmp_path: Path, ct: Volume) -> None:
    write_ct(tmp_path / "ct.nrrd", ct)
    with pytest.raises(UserError, match="found one without a file"):
        segmenter(tmp_path)(ct).save(tmp_path / "a.dcm")
    with pytest.raises(UserError, match="found no DICOM file"):
        segmenter(tmp_path)(tmp_path / "ct.nrrd").save(tmp_path / "a.dcm")
    with pytest.raises(UserError, match="found no DICOM file"):  # before the work, where it is known
        segmenter(tmp_path, dicom="rtstruct")(tmp_path / "ct.nrrd")
    assert not (tmp_path / "a.dcm").exists()


def test_the_picture_is_shown_and_written(tmp_path: Path, ct: Volume) -> None:
    result = segmenter(tmp_path)(ct)
    picture = result.show(tmp_path / "a.png")
    assert picture.mode == "RGB"
    with Image.open(tmp_path / "a.png") as written:
        np.testing.assert_array_equal(np.asarray(written), np.asarray(picture))
    # An outline is drawn in the organ's own colour, not blended with the CT.
    colour = np.array(WORD16.organ("liver").colour)
    assert (np.asarray(picture) == colour).all(-1).any()


def test_the_network_is_loaded_once_and_progress_is_told(tmp_path: Path, ct: Volume) -> None:
    run, listener = segmenter(tmp_path), Listener()
    predictor = run.predictor
    run(ct, reporter=listener)
    run.prepare()
    assert run.predictor is predictor
    assert run.bundle is predictor.bundle


def test_rows_are_plain_values(tmp_path: Path, ct: Volume) -> None:
    rows = segmenter(tmp_path)(ct).rows
    assert rows[0]["organ"] == "liver"
    assert isinstance(rows[0]["checks"], str)
    # Fails on NumPy scalars, which look like numbers until somebody writes them.
    json.dumps(rows)
