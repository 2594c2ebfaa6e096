"""What a CT says of patient and study never stops an export, and is written as DICOM allows."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.valuerep import validate_value

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.dicom_export import ENDINGS, DicomNotWrittenError, write_dicom
from PartialOrganSegLib.formats.dicom_source import Maker, read_source
from PartialOrganSegLib.formats.drawn_structures import read_structures
from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.dicom_files import write_slices
from Testing.helpers.listener import Listener
from Testing.helpers.volume_files import body

highdicom = pytest.importorskip("highdicom")
MAKER = Maker("a model", "1")
TAGS = {"PatientSex": (0x00100040, "CS"), "PatientBirthDate": (0x00100030, "DA"), "StudyDate": (0x00080020, "DA"),
        "StudyTime": (0x00080030, "TM"), "SliceThickness": (0x00180050, "DS"), "PatientID": (0x00100020, "LO"),
        "PatientName": (0x00100010, "PN"), "StudyID": (0x00200010, "SH"), "AccessionNumber": (0x00080050, "SH"),
        "PatientAge": (0x00101010, "AS"), "PatientWeight": (0x00101030, "DS"), "StudyDescription": (0x00081030, "LO"),
        "ReferringPhysicianName": (0x00080090, "PN"), "PatientIdentityRemoved": (0x00120062, "CS"),
        "SpecificCharacterSet": (0x00080005, "CS"), "StudyInstanceUID": (0x0020000D, "UI"),
        "FrameOfReferenceUID": (0x00200052, "UI"), "SpacingBetweenSlices": (0x00180088, "DS"),
        "SmokingStatus": (0x001021A0, "CS"), "MedicalAlerts": (0x00102000, "LO"),
        "ClinicalTrialProtocolID": (0x00120020, "LO"), "PatientSpeciesDescription": (0x00102201, "LO"),
        "ReferencedStudySequence": (0x00081110, "SQ"), "InstitutionName": (0x00080080, "LO"),
        "a private element": (0x00111001, "UN")}


def exported(folder: Path, name: str, value: bytes, representation: str = "") -> tuple[dict[str, pydicom.Dataset],
                                                                                      list[str]]:
    """The three files made of a series whose slices all have these bytes in an attribute, and the warnings."""
    tag, usual = TAGS[name]
    series = write_slices(folder / "ct", body())
    for file in series.iterdir():
        ct = dcmread(file)
        ct._dict[Tag(tag)] = RawDataElement(Tag(tag), representation or usual, len(value), value, 0, False, True)
        ct.save_as(file)
    volume = read_ct(series)
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[3:6, 5:10, 5:10] = WORD16.index("liver")
    listener = Listener()
    files = {kind: folder / f"a{ending}" for kind, ending in ENDINGS.items()}
    write_dicom(files, Volume(labels, volume.grid), read_source(series, None, listener), WORD16.organs, MAKER)
    return {kind: dcmread(file) for kind, file in files.items()}, listener.warnings


@pytest.mark.parametrize(("name", "value", "written"), [
    ("PatientSex", b"U ", ""), ("PatientSex", b"Female", "F"), ("PatientSex", b"f ", "F"),
    ("PatientBirthDate", b"19500000", ""), ("PatientBirthDate", b"1950-01-01", "19500101"),
    ("PatientBirthDate", b"00000000", ""), ("StudyDate", b"ANONYMIZED", ""), ("StudyDate", b"2020", ""),
    ("StudyTime", b"10:10:10", "101010"), ("StudyTime", b"99", ""), ("StudyID", b"a study of sixty letters" * 2, None),
    ("PatientID", b"A\\B ", "A"), ("PatientID", b"x" * 90, "x" * 64), ("PatientAge", b"sixty ", ""),
    ("PatientWeight", b"70 kg", "70"), ("StudyDescription", b"y" * 100, "y" * 64),
    ("PatientName", b"A^B^C^D^E^F^G^H ", "A^B^C^D^E"), ("ReferringPhysicianName", b"z" * 200, "z" * 64),
    ("PatientIdentityRemoved", b"yes ", "YES"), ("AccessionNumber", b"\x00\x01\x02\x03", "")])
def test_what_is_not_allowed_is_mended_or_left_empty(tmp_path: Path, name: str, value: bytes,
                                                     written: str | None) -> None:
    files, warnings = exported(tmp_path, name, value)
    for kind, file in files.items():
        # A structure set or SEG need not repeat what may be absent (type 3).
        text = str(file[name].value or "") if name in file else ""
        validate_value(TAGS[name][1], text, pydicom.config.RAISE)
        if written is not None:
            assert text == written or name not in file, kind
    # One line for the series, not one a slice.
    assert len(warnings) == 1
    assert "DICOM allows" in warnings[0]


@pytest.mark.parametrize(("name", "value", "representation"), [
    ("SliceThickness", b"5 mm", ""), ("SliceThickness", b"", ""), ("PatientSex", b"\x00\x01", "US"),
    ("StudyDate", b"\x00\x00\x80\x3f", "FL"), ("PatientName", b"A ", "LO"), ("SpecificCharacterSet", b"UNKNOWN ", ""),
    ("SpecificCharacterSet", b"\\X ", ""), ("StudyInstanceUID", b"none", ""),
    ("FrameOfReferenceUID", b"5.0 ", "DS"),
    ("SpacingBetweenSlices", b"  ", ""), ("SpacingBetweenSlices", b"-77 ", ""), ("SmokingStatus", b"25", ""),
    ("MedicalAlerts", b"x" * 90, ""), ("ClinicalTrialProtocolID", b"7 ", ""),
    ("PatientSpeciesDescription", b"dog ", ""),
    ("ReferencedStudySequence", b"1.2.3 ", "LO"), ("InstitutionName", b"\xff\x01\x1b", "UN"),
    ("a private element", b"\x00\x01", ""), ("PatientIdentityRemoved", b"perhaps ", "")])
def test_wrong_kinds_of_values_stop_no_writer(tmp_path: Path, name: str, value: bytes, representation: str) -> None:
    files, _ = exported(tmp_path, name, value, representation)
    assert {str(file.Modality) for file in files.values()} == {"SEG", "RTSTRUCT"}
    grid = read_ct(tmp_path / "ct").grid
    for kind, file in files.items():
        # Each opens beside the others, with the same voxels in it.
        (_, mask), = read_structures(Path(file.filename)).masks(grid)
        assert mask.sum() == 75, kind
        file.walk(_validate)
    assert highdicom.seg.segread(files["seg"].filename).number_of_segments == 1
    image = sitk.ReadImage(files["seg"].filename)
    assert image.GetSpacing()[2] == pytest.approx(grid.spacing[2])


def _validate(dataset: pydicom.Dataset, element: pydicom.DataElement) -> None:
    """Raises ValueError for a text that the standard does not allow."""
    if element.VR in ("LO", "SH", "CS", "DA", "TM", "PN", "UI", "DS", "IS", "LT", "AS"):
        for value in element.value if element.VM > 1 else [element.value]:
            validate_value(element.VR, str(value or ""), pydicom.config.RAISE)


def test_any_failure_of_a_writer_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = write_slices(tmp_path / "ct", body())
    volume = read_ct(series)

    def fail(*arguments: object, **settings: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(highdicom.seg, "Segmentation", fail)
    files = {kind: tmp_path / f"a{ending}" for kind, ending in ENDINGS.items()}
    labels = np.ones(volume.array.shape, np.uint8)
    with pytest.raises(DicomNotWrittenError):
        write_dicom(files, Volume(labels, volume.grid), read_source(series, None, Listener()), WORD16.organs, MAKER)
    assert [kind for kind, file in files.items() if file.exists()] == ["rtstruct"]


def test_sound_headers_are_carried_over_without_a_word(tmp_path: Path) -> None:
    files, warnings = exported(tmp_path, "PatientSex", b"F ")
    assert not warnings
    for file in files.values():
        assert (file.PatientSex, file.PatientID, file.StudyDate) == ("F", "4711", "20240102")


def test_organs_without_a_voxel_are_left_out_unless_asked(tmp_path: Path) -> None:
    series = write_slices(tmp_path / "ct", body())
    volume = read_ct(series)
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[3:6, 5:10, 5:10] = WORD16.index("colon")
    source = read_source(series, None, Listener())
    for absent_organs, count in ((False, 1), (True, 16)):
        files = {kind: tmp_path / f"{absent_organs}{ending}" for kind, ending in ENDINGS.items()}
        write_dicom(files, Volume(labels, volume.grid), source, WORD16.organs, MAKER, absent_organs=absent_organs)
        assert len(dcmread(files["rtstruct"]).StructureSetROISequence) == count
        assert len(dcmread(files["rtstruct"]).ROIContourSequence) == count
        for kind in ("seg", "labelmap-seg"):
            named = [segment.SegmentLabel for segment in dcmread(files[kind]).SegmentSequence]
            assert sum(label.lower() != "background" for label in named) == count
            assert "colon" in named
    # Files without any organ would not be valid DICOM: then all are listed, empty.
    nothing = {"rtstruct": tmp_path / "nothing.dcm", "seg": tmp_path / "nothing.seg.dcm"}
    write_dicom(nothing, Volume(labels * 0, volume.grid), source, WORD16.organs, MAKER)
    assert len(dcmread(nothing["rtstruct"]).StructureSetROISequence) == 16


def test_one_failing_writer_leaves_the_others_their_files(tmp_path: Path) -> None:
    series = write_slices(tmp_path / "ct", body())
    volume = read_ct(series)
    files = {"seg": tmp_path / "none" / "a.seg.dcm", "rtstruct": tmp_path / "a.rtstruct.dcm"}
    labels = np.ones(volume.array.shape, np.uint8)
    with pytest.raises(DicomNotWrittenError, match=r"a\.seg\.dcm"):
        write_dicom(files, Volume(labels, volume.grid), read_source(series, None, Listener()), WORD16.organs, MAKER)
    assert dcmread(files["rtstruct"]).Modality == "RTSTRUCT"


def test_one_sop_instance_uid_for_all_slices_is_refused(tmp_path: Path) -> None:
    series = write_slices(tmp_path, body())
    for file in series.iterdir():
        ct = dcmread(file)
        ct.SOPInstanceUID = "1.2.3.4"
        ct.save_as(file)
    with pytest.raises(UserError, match=r"1\.2\.3\.4 in im\d+\.dcm and im\d+\.dcm"):
        read_source(series, None, Listener())
