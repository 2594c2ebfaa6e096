"""DICOM files from the command line: `export` for label maps, `segment --dicom` right away, and what they refuse."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydicom import dcmread
from scipy.ndimage import map_coordinates

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.predictor import Prediction
from Testing.helpers.dicom_cases import make_case, phantom


@pytest.fixture
def case(tmp_path: Path) -> SimpleNamespace:
    """A series in `ct` and the label map of its grid."""
    _, labels = make_case(tmp_path / "ct")
    write_labelmap(tmp_path / "scan.labels.nii.gz", labels)
    return SimpleNamespace(ct=tmp_path / "ct", labels=tmp_path / "scan.labels.nii.gz", out=tmp_path / "out",
                           volume=labels)


def export(case: SimpleNamespace, *options: str) -> int:
    return main(["export", str(case.labels), "--reference", str(case.ct), "-o", str(case.out), *options])


def line(capsys: pytest.CaptureFixture, *words: str) -> None:
    """The one line of the error holds all `words`."""
    [error] = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
    for word in words:
        assert word in error


def test_a_label_map_becomes_seg_and_rtstruct(case: SimpleNamespace, capsys: pytest.CaptureFixture) -> None:
    assert export(case) == 0
    assert sorted(path.name for path in case.out.iterdir()) == ["scan.rtstruct.dcm", "scan.seg.dcm"]
    assert str(case.out / "scan.seg.dcm") in capsys.readouterr().out
    seg, rtss = dcmread(case.out / "scan.seg.dcm"), dcmread(case.out / "scan.rtstruct.dcm")
    assert len(seg.SegmentSequence) == len(rtss.StructureSetROISequence) == 15  # one has no voxel
    ct = dcmread(next(case.ct.iterdir()))
    assert seg.StudyInstanceUID == rtss.StudyInstanceUID == ct.StudyInstanceUID


def test_who_made_it_and_what_of_it(case: SimpleNamespace) -> None:
    assert export(case, "--dicom", "labelmap-seg,rtstruct", "--how", "corrected", "--made-by", "Dr. Müller",
                  "--organs", "liver,spleen") == 0
    rtss = dcmread(case.out / "scan.rtstruct.dcm")
    assert [roi.ROIName for roi in rtss.StructureSetROISequence] == ["Liver", "Spleen"]
    assert rtss.StructureSetROISequence[0].ROIGenerationAlgorithm == "SEMIAUTOMATIC"
    assert "Müller" in rtss.SeriesDescription
    seg = dcmread(case.out / "scan.labelmap-seg.dcm")
    assert {s.SegmentAlgorithmType for s in seg.SegmentSequence if s.SegmentNumber} == {"SEMIAUTOMATIC"}
    assert seg.SegmentSequence[1].SegmentAlgorithmName == "Dr. Müller"


def test_results_beside_the_ct_do_not_disturb_reading_it(case: SimpleNamespace) -> None:
    case.out = case.ct
    assert export(case, "--dicom", "seg,labelmap-seg,rtstruct") == 0
    np.testing.assert_array_equal(read_ct(case.ct).array, phantom()[0])
    assert export(case, "--overwrite") == 0


def test_what_cannot_be_exported_is_told(case: SimpleNamespace, capsys: pytest.CaptureFixture) -> None:
    assert export(case) == 0
    capsys.readouterr()
    assert export(case) == 1
    line(capsys, "scan.seg.dcm", "--overwrite")
    assert export(case, "--overwrite", "--label-space", "shi5") == 1
    line(capsys, "expected values up to 5 (shi5), found 16")
    # A NIfTI file as the reference.
    case.ct = case.labels
    assert export(case, "--overwrite") == 1
    line(capsys, "found no DICOM file", "the patient, the study and each image")


def test_labels_of_another_grid_need_resample(case: SimpleNamespace, capsys: pytest.CaptureFixture) -> None:
    grid = case.volume.grid
    coarse = Volume(case.volume.array[:, ::2, ::2], Grid((32, 24, 28), (12.0, 10.0, 12.0), grid.origin, grid.direction))
    write_labelmap(case.labels, coarse)
    assert export(case) == 1
    line(capsys, "on the grid of the series", "--resample")
    # Nothing of the kind that could have been written is there, either.
    assert not case.out.exists()
    assert export(case, "--resample") == 0


def test_wrong_options_are_told(case: SimpleNamespace, capsys: pytest.CaptureFixture) -> None:
    assert export(case, "--dicom", "rtstuct") == 2
    line(capsys, "did you mean 'rtstruct'?")
    assert export(case, "--made-by", "a" * 65) == 2
    line(capsys, "expected 1 to 64 characters")


def test_labels_drawn_by_hand_have_no_algorithm(case: SimpleNamespace) -> None:
    assert export(case, "--dicom", "seg,labelmap-seg,rtstruct", "--how", "manual") == 0
    for name in ("seg", "labelmap-seg"):
        for segment in dcmread(case.out / f"scan.{name}.dcm").SegmentSequence:
            assert segment.SegmentAlgorithmType == "MANUAL"
            assert "SegmentationAlgorithmIdentificationSequence" not in segment
    roi = dcmread(case.out / "scan.rtstruct.dcm").StructureSetROISequence[0]
    assert roi.ROIGenerationAlgorithm == "MANUAL"
    assert "ROIDerivationAlgorithmIdentificationSequence" not in roi


class Oracle:
    """Stands in for the predictor: knows the phantom."""

    def __init__(self, bundle: SimpleNamespace, **settings: object) -> None:
        self.bundle = bundle

    def predict(self, ct: Volume, organs: object = None, reporter: object = None) -> Prediction:
        return Prediction(labels=Volume(phantom()[1], ct.grid), entropy={})


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    checksums = tmp_path / "model" / "configs" / "checksums.json"
    checksums.parent.mkdir(parents=True)
    checksums.write_text("{}")
    monkeypatch.setattr("PartialOrganSegLib.segmenting.predictor.Predictor", Oracle)
    monkeypatch.setattr("PartialOrganSegLib.models.bundle.load_bundle", lambda name: SimpleNamespace(
        name="oracle", label_space=WORD16, metadata=SimpleNamespace(version="2.1"), folds=(),
        folder=tmp_path / "model"))


@pytest.mark.usefixtures("oracle")
def test_segment_writes_dicom_beside_the_others(case: SimpleNamespace) -> None:
    assert main(["segment", str(case.ct), "-o", str(case.out), "--dicom", "seg,rtstruct", "--no-preview"]) == 0
    assert sorted(path.name for path in case.out.iterdir()) == [
        "ct.labels.nii.gz", "ct.rtstruct.dcm", "ct.seg.dcm", "ct.seg.nrrd", "ct.volumes.csv", "records"]
    [algorithm] = dcmread(case.out / "ct.seg.dcm").SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("oracle", "2.1")


@pytest.mark.usefixtures("oracle")
def test_results_in_a_cts_folder_are_no_part_of_the_ct(case: SimpleNamespace, capsys: pytest.CaptureFixture) -> None:
    words = ["segment", str(case.ct), "-o", str(case.ct / "results"), "--dicom", "seg", "--no-preview", "--resume"]
    # Second time: the SEG in the CT's folder must not change what the CT is recognised by.
    for summary in ("1 segmented, 0 finished before", "0 segmented, 1 finished before"):
        assert main(words) == 0
        assert summary in capsys.readouterr().out


@pytest.mark.usefixtures("oracle")
def test_segment_reports_a_ct_that_is_no_dicom(case: SimpleNamespace, capsys: pytest.CaptureFixture) -> None:
    from PartialOrganSegLib.formats.writing import write_ct

    nifti = case.ct.parent / "scan.nii.gz"
    write_ct(nifti, Volume(phantom()[0], case.volume.grid))
    assert main(["segment", str(nifti), str(case.ct), "-o", str(case.out), "--dicom", "rtstruct"]) == 1
    line(capsys, "scan.nii.gz", "found no DICOM file")
    assert (case.out / "ct.rtstruct.dcm").exists()
    assert not (case.out / "scan.labels.nii.gz").exists()


def test_highdicom_is_missed_before_the_work_starts(case: SimpleNamespace, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    for command in (["segment", str(case.ct)], ["export", str(case.labels), "--reference", str(case.ct)]):
        assert main([*command, "-o", str(case.out), "--dicom", "seg"]) == 1
        line(capsys, "highdicom", "pip install")
    assert export(case, "--dicom", "rtstruct") == 0


def test_nifti_needs_no_series_and_says_what_its_values_mean(case: SimpleNamespace) -> None:
    assert main(["export", str(case.labels), "--nifti", "--organs", "liver,left_kidney", "--name", "Plan 1", "-o",
                 str(case.out)]) == 0
    assert sorted(path.name for path in case.out.iterdir()) == ["Plan 1.labels.csv", "Plan 1.labels.nii.gz"]
    written = read_labelmap(case.out / "Plan 1.labels.nii.gz").array
    np.testing.assert_array_equal(written, np.where(np.isin(case.volume.array, [1, 3]), case.volume.array, 0))
    table = (case.out / "Plan 1.labels.csv").read_text().splitlines()
    assert [row.split(",")[:4] for row in table[1:]] == [["1", "Liver", "liver", "10200004"],
                                                         ["3", "Kidney_L", "left_kidney", "64033007"]]


def test_segments_can_bear_tg263_names(case: SimpleNamespace) -> None:
    assert export(case, "--dicom", "seg", "--organs", "left_kidney", "--names", "tg263") == 0
    assert dcmread(case.out / "scan.seg.dcm").SegmentSequence[0].SegmentLabel == "Kidney_L"


def test_the_series_of_another_ct_is_refused(case: SimpleNamespace, capsys: pytest.CaptureFixture) -> None:
    """Same size and spacing, another patient: the labels would lie in the wrong file."""
    ct = read_ct(case.ct)
    write_ct(case.out.parent / "same.nrrd", ct)
    write_ct(case.out.parent / "mirrored.nrrd", Volume(ct.array[:, :, ::-1].copy(), ct.grid))
    assert export(case, "--of", str(case.out.parent / "mirrored.nrrd")) == 1
    line(capsys, "expected the DICOM series of mirrored.nrrd", "another CT")
    assert not case.out.exists()
    assert export(case, "--of", str(case.out.parent / "same.nrrd")) == 0


def liver_slices(case: SimpleNamespace) -> np.ndarray:
    """Voxels of the liver in every slice of the DICOM SEG that was written, from the lowest slice on."""
    seg = dcmread(case.out / "scan.seg.dcm")
    frames = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    frames = frames[:seg.NumberOfFrames * seg.Rows * seg.Columns].reshape(seg.NumberOfFrames, -1)
    heights = [float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
               for frame in seg.PerFrameFunctionalGroupsSequence]
    return frames[np.argsort(heights)].sum(axis=1)


def test_labels_of_a_ct_that_was_moved_go_back_to_its_series(case: SimpleNamespace, capsys: pytest.CaptureFixture,
                                                             ) -> None:
    """A program has moved the whole CT, as 3D Slicer's *Center volume* does: at its new place lie other tissues."""
    ct, out = read_ct(case.ct), case.out.parent
    moved = replace(ct.grid, origin=tuple(np.add(ct.grid.origin, (13.0, -40.0, 60.0))))
    write_ct(out / "moved.nrrd", Volume(ct.array, moved))
    write_labelmap(case.labels, Volume(case.volume.array, moved))
    assert export(case, "--dicom", "seg", "--organs", "liver", "--of", str(out / "moved.nrrd"), "--resample") == 0
    assert "moved.nrrd: the CT lies elsewhere than its DICOM series" in capsys.readouterr().err
    counts = (case.volume.array == 1).sum(axis=(1, 2))
    assert liver_slices(case).tolist() == counts[counts > 0].tolist()


@pytest.mark.parametrize("kind", ["part", "finer"])
def test_a_part_of_a_series_and_a_finer_ct_are_known_by_their_voxels(case: SimpleNamespace, kind: str,
                                                                     capsys: pytest.CaptureFixture) -> None:
    """A CT that was cropped or resampled belongs to the series where it lies, and to none where it was moved."""
    ct, out = read_ct(case.ct), case.out.parent
    if kind == "part":
        array, labels = (volume.array[4:24, 6:, :52] for volume in (ct, case.volume))
        first, spacing = (0, 6, 4), ct.grid.spacing  # x, y, z
    else:
        fine = np.ix_(*(np.arange(size * 2 - 1) / 2 for size in ct.array.shape))
        array = map_coordinates(ct.array.astype(np.float32), np.broadcast_arrays(*fine), order=1)
        array, labels = np.rint(array).astype(np.int16), np.kron(case.volume.array, np.ones((2, 2, 2), np.uint8))
        labels = labels[tuple(slice(size) for size in array.shape)]
        first, spacing = (0, 0, 0), tuple(mm / 2 for mm in ct.grid.spacing)
    origin = (ct.grid.matrix @ [*first, 1])[:3]
    for shift, expected in (((0, 0, 0), 0), ((0, 10, 0), 1), ((0, 3, 0), 1)):
        grid = Grid(array.shape[::-1], spacing, tuple(origin + shift))
        write_ct(out / "seen.nrrd", Volume(array.copy(), grid))
        write_labelmap(case.labels, Volume(labels.copy(), grid))
        assert export(case, "--dicom", "seg", "--of", str(out / "seen.nrrd"), "--resample") == expected, shift
        if expected:
            line(capsys, "expected the DICOM series of seen.nrrd", "another CT", "moved")
            assert not list(case.out.iterdir())
        else:
            assert (case.out / "scan.seg.dcm").exists()
            (case.out / "scan.seg.dcm").unlink()


def test_what_needs_a_series_says_so(case: SimpleNamespace, capsys: pytest.CaptureFixture) -> None:
    assert main(["export", str(case.labels), "-o", str(case.out)]) == 2
    line(capsys, "--reference", "seg and rtstruct refer to", "--nifti")
    assert main(["export", str(case.labels), "--nifti", "--name", "a/b", "-o", str(case.out)]) == 2
    line(capsys, "a file's name without a folder")
