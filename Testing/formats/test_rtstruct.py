"""RT structure sets: other libraries read the masks back, holes and parts kept, and what refers to what is right."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom import Dataset, dcmread

from PartialOrganSegLib.formats.dicom_source import DicomSource, Maker
from PartialOrganSegLib.formats.itk import image_of
from PartialOrganSegLib.formats.roi_names import rtog_name, tg263_name
from PartialOrganSegLib.formats.rtstruct import write_rtstruct
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.organs import BTCV13, WORD16
from Testing.helpers.dicom_cases import make_case
from Testing.helpers.dicom_files import OBLIQUE, PRONE, STUDY, UPRIGHT, inside

MAKER = Maker("embedded", "1.0")
NAMES = ("Liver", "Spleen", "Kidney_L", "Kidney_R", "Stomach", "Gallbladder", "Esophagus", "Pancreas", "Duodenum",
         "Colon", "Bowel_Small", "Glnd_Adrenal", "Rectum", "Bladder", "Femur_Head_L", "Femur_Head_R")


def write(path: Path, source: DicomSource, labels: Volume) -> Dataset:
    write_rtstruct(path, source.on_slices(labels), source, WORD16.organs, MAKER)
    return dcmread(path)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * np.sum(first & second) / (first.sum() + second.sum())


def masks_of(rtss: Dataset, labels: Volume) -> list[np.ndarray]:
    """The masks (z, y, x) of all ROIs on the labels' grid by even-odd filling, and no two contours overlap."""
    inverse = np.linalg.inv(labels.grid.matrix)
    masks = []
    for roi in rtss.ROIContourSequence:
        filled = np.zeros(labels.grid.shape, int)
        for contour in roi.get("ContourSequence", []):
            points = np.reshape(contour.ContourData, (-1, 3)).astype(float)
            assert len(points) == contour.NumberOfContourPoints
            voxels = points @ inverse[:3, :3].T + inverse[:3, 3]
            z = np.rint(voxels[:, 2])
            np.testing.assert_allclose(voxels[:, 2], z[0], atol=1e-4)
            filled[int(z[0])] += inside(voxels[:, :2], labels.grid.shape[1:])
        # Two contours over one pixel would cancel out in a reader that fills by even-odd.
        assert filled.max(initial=0) <= 1
        masks.append(filled > 0)
    return masks


@pytest.mark.parametrize(("axes", "enhanced"), [(UPRIGHT, False), (OBLIQUE, False), (PRONE, False), (OBLIQUE, True)])
def test_even_odd_filling_gives_the_masks(tmp_path: Path, axes: tuple, enhanced: bool) -> None:
    source, labels = make_case(tmp_path / "ct", axes, enhanced)
    rtss = write(tmp_path / "rt.dcm", source, labels)
    for organ, mask in zip(WORD16.organs, masks_of(rtss, labels), strict=True):
        np.testing.assert_array_equal(mask, labels.array == organ.index)


@pytest.mark.parametrize("axes", [UPRIGHT, OBLIQUE, PRONE])
def test_dcmrtstruct2nii_reads_the_masks_back(tmp_path: Path, axes: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another library's even-odd filling on the CT as it reads it; the liver has holes, an island and a thread."""
    convert = pytest.importorskip("dcmrtstruct2nii").dcmrtstruct2nii
    monkeypatch.setattr(pydicom, "read_file", dcmread, raising=False)  # its name up to pydicom 2
    source, labels = make_case(tmp_path / "ct", axes)
    write(tmp_path / "rt.dcm", source, labels)
    convert(str(tmp_path / "rt.dcm"), str(tmp_path / "ct"), str(tmp_path / "masks"), convert_original_dicom=False)
    compared = 0
    for organ in WORD16.organs:
        if (labels.array == organ.index).any():
            read = sitk.ReadImage(str(tmp_path / "masks" / f"mask_{tg263_name(organ)}.nii.gz"))
            read = sitk.Resample(read, image_of(labels), sitk.Transform(), sitk.sitkNearestNeighbor)
            assert dice(sitk.GetArrayFromImage(read) > 0, labels.array == organ.index) >= 0.99
            compared += 1
    # A loop over nothing would pass.
    assert compared >= 12


@pytest.mark.skipif(shutil.which("plastimatch") is None, reason="needs plastimatch (Debian has it)")
@pytest.mark.parametrize(("axes", "enhanced"), [(UPRIGHT, False), (OBLIQUE, False), (PRONE, True)])
def test_plastimatch_reads_the_masks_back(tmp_path: Path, axes: tuple, enhanced: bool) -> None:
    source, labels = make_case(tmp_path / "ct", axes, enhanced)
    write(tmp_path / "rt.dcm", source, labels)
    sitk.WriteImage(image_of(labels), str(tmp_path / "grid.nrrd"))
    subprocess.run(["plastimatch", "convert", "--input", tmp_path / "rt.dcm", "--fixed", tmp_path / "grid.nrrd",
                    "--output-prefix", tmp_path / "masks", "--prefix-format", "nrrd"], check=True, capture_output=True)
    for organ in WORD16.organs:
        if (labels.array == organ.index).any():
            read = sitk.ReadImage(str(tmp_path / "masks" / f"{tg263_name(organ)}.nrrd"))
            assert dice(sitk.GetArrayFromImage(read) > 0, labels.array == organ.index) >= 0.99


def test_rois_are_named_coloured_and_coded(tmp_path: Path) -> None:
    source, labels = make_case(tmp_path / "ct")
    rtss = write(tmp_path / "Kontur Müller.dcm", source, labels)
    assert tuple(roi.ROIName for roi in rtss.StructureSetROISequence) == NAMES
    rois = zip(WORD16.organs, rtss.StructureSetROISequence, rtss.ROIContourSequence, rtss.RTROIObservationsSequence,
               strict=True)
    for number, (organ, roi, contours, observation) in enumerate(rois, 1):
        assert {roi.ROINumber, contours.ReferencedROINumber, observation.ReferencedROINumber} == {number}
        assert tuple(contours.ROIDisplayColor) == organ.colour
        assert roi.ROIGenerationAlgorithm == "AUTOMATIC"
        assert roi.ROIDerivationAlgorithmIdentificationSequence[0].AlgorithmName == "embedded"
        assert organ.title in roi.ROIDescription
        assert observation.RTROIInterpretedType == "ORGAN"
        [code] = observation.RTROIIdentificationCodeSequence
        assert (code.CodeValue, code.CodingSchemeDesignator) == (organ.code.value, "SCT")
        sides = [side.CodeValue for side in code.get("SegmentedPropertyTypeModifierCodeSequence", [])]
        assert sides == ([organ.modifier.value] if organ.modifier else [])
    assert "RTOG: SmallBowel" in rtss.StructureSetROISequence[10].ROIDescription
    assert "ContourSequence" not in rtss.ROIContourSequence[5]  # no gallbladder was found


def test_names_are_different_and_short() -> None:
    for space in (WORD16, BTCV13):
        names = [tg263_name(organ) for organ in space.organs]
        assert len(set(names)) == len(names)
        assert rtog_name(space.organ("liver")) == "Liver"
    assert max(map(len, NAMES)) <= 16
    assert rtog_name(WORD16.organ("head_of_left_femur")) is None


@pytest.mark.parametrize("enhanced", [False, True])
def test_patient_study_and_images(tmp_path: Path, enhanced: bool) -> None:
    source, labels = make_case(tmp_path / "ct", OBLIQUE, enhanced)
    rtss = write(tmp_path / "rt.dcm", source, labels)
    files = [dcmread(file) for file in (tmp_path / "ct").iterdir()]
    ct = files[0]
    for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate", "AccessionNumber",
                 "FrameOfReferenceUID"):
        assert rtss[name].value == ct[name].value
    assert str(rtss.PatientName) == STUDY["PatientName"]
    assert rtss.Modality == "RTSTRUCT"
    [frame] = rtss.ReferencedFrameOfReferenceSequence
    [study] = frame.RTReferencedStudySequence
    [series] = study.RTReferencedSeriesSequence
    assert frame.FrameOfReferenceUID == ct.FrameOfReferenceUID
    assert study.ReferencedSOPInstanceUID == ct.StudyInstanceUID
    assert series.SeriesInstanceUID == ct.SeriesInstanceUID
    assert {roi.ReferencedFrameOfReferenceUID for roi in rtss.StructureSetROISequence} == {ct.FrameOfReferenceUID}
    named = {(image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber")) for image in
             series.ContourImageSequence}
    assert len(named) == len(labels.array)
    places = {}
    for file in files:
        for number, group in enumerate(file.get("PerFrameFunctionalGroupsSequence", [None]), 1):
            place = file.ImagePositionPatient if group is None else group.PlanePositionSequence[0].ImagePositionPatient
            places[file.SOPInstanceUID, None if group is None else number] = np.array(place, float)
    assert named == set(places)
    normal = np.cross(*OBLIQUE)
    for roi in rtss.ROIContourSequence:
        for contour in roi.get("ContourSequence", []):
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            [image] = contour.ContourImageSequence
            place = places[image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber")]
            # Distance from the plane of the image that the contour says it lies on.
            heights = (np.reshape(contour.ContourData, (-1, 3)).astype(float) - place) @ normal
            np.testing.assert_allclose(heights, 0, atol=1e-3)


def test_one_slice_of_the_liver_has_its_parts(tmp_path: Path) -> None:
    """The slice with two holes, an island in one of them and a thread: the rest, the island and the thread."""
    source, labels = make_case(tmp_path / "ct")
    rtss = write(tmp_path / "rt.dcm", source, labels)
    uid = source.headers[16].SOPInstanceUID
    contours = [contour for contour in rtss.ROIContourSequence[0].ContourSequence
                if contour.ContourImageSequence[0].ReferencedSOPInstanceUID == uid]
    assert len(contours) == 3


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
@pytest.mark.parametrize("enhanced", [False, True])
def test_dciodvfy_finds_no_error(tmp_path: Path, enhanced: bool) -> None:
    from PartialOrganSegLib.formats.dicom_seg import write_dicom_seg

    source, labels = make_case(tmp_path / "ct", OBLIQUE, enhanced)
    write(tmp_path / "rt.dcm", source, labels)
    write_dicom_seg(tmp_path / "seg.dcm", source.on_slices(labels), source, WORD16.organs, MAKER)
    for name, iod in (("rt.dcm", "RTStructureSet"), ("seg.dcm", "Segmentation")):
        # It prints the kind of object and then one line for each error.
        output = subprocess.run(["dciodvfy", tmp_path / name], capture_output=True, text=True, errors="replace").stderr
        assert output.strip() == iod
