"""DICOM SEG gives back just the labels, on the source's own slices, and names patient, study, images and organs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.pixels import unpack_bits

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.dicom_seg import write_dicom_seg
from PartialOrganSegLib.formats.dicom_source import DicomSource, Maker, read_source
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.dicom_cases import SPACING, make_case, phantom
from Testing.helpers.dicom_files import OBLIQUE, PRONE, STUDY, UPRIGHT, positions_of, write_enhanced, write_slices
from Testing.helpers.listener import Listener
from Testing.helpers.real_data import real_data_path
from Testing.helpers.volume_files import refused

MAKER = Maker("embedded", "1.0")
BINARY, LABELMAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"


def write(path: Path, source: DicomSource, labels: Volume, labelmap: bool = False, organs=WORD16.organs) -> Dataset:
    write_dicom_seg(path, source.on_slices(labels), source, organs, MAKER, labelmap)
    return dcmread(path)


def labels_of(seg: Dataset, grid: Grid) -> np.ndarray:
    """The labels (z, y, x) that a SEG puts on `grid`, each frame by the position it says it has."""
    shape = (int(seg.NumberOfFrames), seg.Rows, seg.Columns)
    frames = unpack_bits(seg.PixelData)[:np.prod(shape)].reshape(shape) if seg.BitsAllocated == 1 else (
        seg.pixel_array.reshape(shape))
    labels = np.zeros(grid.shape, int)
    shared = seg.SharedFunctionalGroupsSequence[0]
    axes = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    np.testing.assert_allclose(axes, np.reshape(grid.direction, (3, 3)).T[:2], atol=1e-6)
    np.testing.assert_allclose(shared.PixelMeasuresSequence[0].PixelSpacing, grid.spacing[1::-1])
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        position = [*group.PlanePositionSequence[0].ImagePositionPatient, 1]
        voxel = np.linalg.inv(grid.matrix) @ np.array(position, float)
        # Frames have the columns and rows of the CT, so each begins at its first voxel.
        np.testing.assert_allclose(voxel[:2], 0, atol=1e-3)
        segment = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber if seg.BitsAllocated == 1 else 1
        # A sum, so that two segments in one voxel would show.
        labels[round(voxel[2])] += frame.astype(int) * segment
    return labels


@pytest.mark.parametrize("labelmap", [False, True])
@pytest.mark.parametrize("axes", [UPRIGHT, OBLIQUE, PRONE])
@pytest.mark.parametrize("enhanced", [False, True])
def test_round_trip_is_identical(tmp_path: Path, axes: tuple, enhanced: bool, labelmap: bool) -> None:
    source, labels = make_case(tmp_path / "ct", axes, enhanced)
    seg = write(tmp_path / "seg.dcm", source, labels, labelmap)
    assert seg.SOPClassUID == (LABELMAP if labelmap else BINARY)
    np.testing.assert_array_equal(labels_of(seg, labels.grid), labels.array)


@pytest.mark.parametrize("enhanced", [False, True])
def test_frames_name_the_images_they_lie_on(tmp_path: Path, enhanced: bool) -> None:
    source, labels = make_case(tmp_path / "ct", enhanced=enhanced)
    seg = write(tmp_path / "seg.dcm", source, labels)
    positions = {}
    for file in (tmp_path / "ct").iterdir():
        ct = dcmread(file)
        for number, group in enumerate(ct.get("PerFrameFunctionalGroupsSequence", [None]), 1):
            place = ct.ImagePositionPatient if group is None else group.PlanePositionSequence[0].ImagePositionPatient
            positions[ct.SOPInstanceUID, None if group is None else number] = list(place)
    for group in seg.PerFrameFunctionalGroupsSequence:
        [image] = group.DerivationImageSequence[0].SourceImageSequence
        named = positions[image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber")]
        assert named == list(group.PlanePositionSequence[0].ImagePositionPatient)
    [series] = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == ct.SeriesInstanceUID
    assert {image.ReferencedSOPInstanceUID for image in series.ReferencedInstanceSequence} == {p[0] for p in positions}


@pytest.mark.parametrize("labelmap", [False, True])
def test_organs_patient_and_study(tmp_path: Path, labelmap: bool) -> None:
    source, labels = make_case(tmp_path / "ct")
    seg = write(tmp_path / "Befund Müller.dcm", source, labels, labelmap)
    ct = dcmread(source.slices[0].file)
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate",
                 "StudyID", "AccessionNumber", "FrameOfReferenceUID"):
        assert seg[name].value == ct[name].value
    assert str(seg.PatientName) == STUDY["PatientName"]
    assert seg.Modality == "SEG"
    assert seg.SeriesInstanceUID != ct.SeriesInstanceUID
    segments = [segment for segment in seg.SegmentSequence if segment.SegmentNumber > 0]
    assert [segment.SegmentNumber for segment in segments] == list(range(1, 17))  # the gallbladder, too: it is absent
    for segment, organ in zip(segments, WORD16.organs, strict=True):
        assert segment.SegmentLabel == organ.title
        [kind] = segment.SegmentedPropertyTypeCodeSequence
        assert (kind.CodeValue, kind.CodingSchemeDesignator) == (organ.code.value, "SCT")
        sides = [code.CodeValue for code in kind.get("SegmentedPropertyTypeModifierCodeSequence", [])]
        assert sides == ([organ.modifier.value] if organ.modifier else [])
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        [algorithm] = segment.SegmentationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("embedded", "1.0")
        assert segment.SegmentAlgorithmName == "embedded"
        assert len(segment.RecommendedDisplayCIELabValue) == 3
    from highdicom.color import CIELabColor

    liver = CIELabColor.from_dicom_value(segments[0].RecommendedDisplayCIELabValue).to_rgb()
    np.testing.assert_allclose(liver, WORD16.organs[0].colour, atol=1)


def test_a_chosen_few_organs_are_numbered_from_one(tmp_path: Path) -> None:
    source, labels = make_case(tmp_path / "ct")
    chosen = [WORD16.organ("spleen"), WORD16.organ("stomach")]
    # Segments of a bitmap are numbered without gaps by the standard; a label map keeps its own values.
    for labelmap, numbers in ((False, [1, 2]), (True, [2, 5])):
        seg = write(tmp_path / f"{labelmap}.dcm", source, labels, labelmap, chosen)
        assert [s.SegmentNumber for s in seg.SegmentSequence if s.SegmentNumber] == numbers
        read = labels_of(seg, labels.grid)
        for number, organ in zip(numbers, chosen, strict=True):
            np.testing.assert_array_equal(read == number, labels.array == organ.index)


@pytest.mark.parametrize("labelmap", [False, True])
def test_a_ct_without_any_organ(tmp_path: Path, labelmap: bool) -> None:
    source, labels = make_case(tmp_path / "ct")
    seg = write(tmp_path / "seg.dcm", source, Volume(np.zeros_like(labels.array), labels.grid), labelmap)
    # No frame at all is not allowed: an empty one stands for each segment.
    assert seg.NumberOfFrames == (1 if labelmap else 16)
    assert not labels_of(seg, labels.grid).any()


def test_tilted_and_uneven_series_get_labels_on_their_own_slices(tmp_path: Path) -> None:
    """Labels drawn on the upright, filled volume come back to where they lie in the patient."""
    array = np.full((12, 40, 24), -1000, np.int16)
    positions = positions_of(12)
    positions[8:, 2] += 5  # a slice is missing
    positions[:, 1] -= 1.6 * np.arange(12)
    for k in range(12):
        array[k, 10 + 2 * k:14 + 2 * k, 8:16] = 40
    write_slices(tmp_path / "ct", array, positions=positions)
    upright = read_ct(tmp_path / "ct", reporter=Reporter())
    listener = Listener()
    source = read_source(tmp_path / "ct", None, listener)
    assert "gantry tilt" in listener.warnings[0]
    assert "1 slices are missing" in listener.warnings[1]
    assert source.grid.same_as(upright.grid)
    # The segmentation as it is made: on the upright grid, with the missing slice filled in.
    rod = Volume((upright.array > 0).astype(np.uint8), upright.grid)
    assert rod.array.shape[0] == 13
    np.testing.assert_array_equal(source.on_slices(rod), array == 40)
    write(tmp_path / "seg.dcm", source, rod)
    seg = dcmread(tmp_path / "seg.dcm")
    places = [group.PlanePositionSequence[0].ImagePositionPatient for group in seg.PerFrameFunctionalGroupsSequence]
    np.testing.assert_allclose(sorted(np.array(places, float).tolist(), key=lambda place: place[2]), positions)


def test_labels_of_a_flipped_grid_are_placed_alike(tmp_path: Path) -> None:
    source, labels = make_case(tmp_path / "ct")
    grid = labels.grid
    turned = Grid(grid.size, grid.spacing, tuple((grid.matrix @ [grid.size[0] - 1, 0, grid.size[2] - 1, 1])[:3]),
                  (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
    flipped = Volume(labels.array[::-1, :, ::-1].copy(), turned)
    np.testing.assert_array_equal(source.on_slices(flipped), labels.array)


def test_labels_of_another_grid_are_told(tmp_path: Path) -> None:
    source, labels = make_case(tmp_path / "ct")
    grid = labels.grid
    halved = Volume(labels.array[:, ::2, ::2], Grid((32, 24, 28), (12.0, 10.0, 12.0), grid.origin, grid.direction))
    with pytest.raises(UserError, match=r"on the grid of the series \(64 x 48 x 28 .* found 32 x 24 x 28"):
        source.on_slices(halved)
    placed = source.on_slices(halved, resample=True)
    np.testing.assert_array_equal(placed[:, ::2, ::2], halved.array)
    # A pixel halfway between two voxels takes one of them.
    assert ((placed[:, 1:-1:2, ::2] == halved.array[:, :-1]) | (placed[:, 1:-1:2, ::2] == halved.array[:, 1:])).all()


def test_missing_identifiers_are_made_and_told(tmp_path: Path) -> None:
    listener = Listener()
    source, labels = make_case(tmp_path / "ct", reporter=listener, SeriesInstanceUID="", StudyInstanceUID="")
    assert "no Study Instance UID and no Series Instance UID" in listener.warnings[0]
    seg = write(tmp_path / "seg.dcm", source, labels)
    again = read_source(tmp_path / "ct", None, Listener())
    assert seg.StudyInstanceUID == again.headers[0].StudyInstanceUID
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID.startswith("2.25.")


def test_a_ct_that_is_no_dicom_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"no dicom")

    def read(path: Path) -> DicomSource:
        return read_source(path, None, Reporter())

    for path in (tmp_path / "scan.nii.gz", tmp_path):
        refused(path, "no DICOM file", "name the patient, the study and each image", call=read)
    refused(tmp_path / "nowhere", "nothing there", call=read)


def test_without_highdicom_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, labels = make_case(tmp_path / "ct")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UserError, match=r'found it not installed; pip install "highdicom'):
        write(tmp_path / "seg.dcm", source, labels)
    assert not (tmp_path / "seg.dcm").exists()


def test_segmenting_imports_neither_highdicom_nor_pydicom() -> None:
    code = ("import sys, PartialOrganSegLib.formats.rtstruct, PartialOrganSegLib.formats.dicom_seg, "
            "PartialOrganSegLib.formats.reading; print('pydicom' in sys.modules or 'highdicom' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"



def test_frames_that_each_say_their_orientation(tmp_path: Path) -> None:
    """An enhanced file without shared functional groups, of which one phase of two is segmented."""
    hu = phantom()[0]
    # Both phases lie at the same places; the frames' acquisition numbers tell them apart.
    places = np.concatenate([positions_of(len(hu), OBLIQUE, SPACING[0])] * 2)
    file = write_enhanced(tmp_path / "ct.dcm", np.concatenate([hu, hu + 1]), OBLIQUE, places, pixel_mm=SPACING[1:])
    ct = dcmread(file)
    [shared] = ct.SharedFunctionalGroupsSequence
    for number, group in enumerate(ct.PerFrameFunctionalGroupsSequence):
        group.PlaneOrientationSequence, group.PixelMeasuresSequence = (
            shared.PlaneOrientationSequence, shared.PixelMeasuresSequence)
        group.FrameContentSequence[0].FrameAcquisitionNumber = 1 + number // len(hu)
    del ct.SharedFunctionalGroupsSequence
    ct.save_as(file)
    labels = Volume(phantom()[1], read_ct(file, series="2").grid)
    seg = write(tmp_path / "seg.dcm", read_source(file, "2", Reporter()), labels)
    np.testing.assert_array_equal(labels_of(seg, labels.grid), labels.array)
    named = {group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
             for group in seg.PerFrameFunctionalGroupsSequence}
    assert min(named) > len(hu)


def test_slices_that_round_their_orientation_differently(tmp_path: Path) -> None:
    make_case(tmp_path / "ct", OBLIQUE)
    for number, file in enumerate((tmp_path / "ct").iterdir()):
        ct = dcmread(file)
        # Steps of 1e-7: as different software writes the same cosines.
        ct.ImageOrientationPatient = [f"{c + (number % 3 - 1) * 1e-7:.7f}" for c in ct.ImageOrientationPatient]
        ct.SliceThickness = None
        ct.save_as(file)
    labels = Volume(phantom()[1], read_ct(tmp_path / "ct").grid)
    seg = write(tmp_path / "seg.dcm", read_source(tmp_path / "ct", None, Reporter()), labels)
    np.testing.assert_array_equal(labels_of(seg, labels.grid), labels.array)


def test_real_series_without_identifiers(tmp_path: Path) -> None:
    """Even the SOP Instance UIDs stand only in the files' meta information there; the labels' grid is flipped."""
    folder, listener = real_data_path("dicom", "ct_20slices"), Listener()
    labels = read_labelmap(real_data_path("dicom", "ct_20slices_totalseg117.nii.gz"))
    labels = Volume(np.where(labels.array <= 16, labels.array, 0).astype(np.uint8), labels.grid)
    source = read_source(folder, None, listener)
    assert "no Study Instance UID and no Series Instance UID" in listener.warnings[0]
    seg = write(tmp_path / "seg.dcm", source, labels)
    flipped = labels.array[:, ::-1] if labels.grid.direction[4] < 0 else labels.array
    flipped = flipped[:, :, ::-1] if labels.grid.direction[0] < 0 else flipped
    flipped = flipped[::-1] if labels.grid.direction[8] < 0 else flipped
    np.testing.assert_array_equal(labels_of(seg, source.grid), flipped)
