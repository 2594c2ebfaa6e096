"""What a CT says of patient and study never stops an export, and is written as DICOM allows."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.valuerep import validate_value

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.dicom_export import ENDINGS, DicomNotWrittenError, write_dicom
from PartialOrganSegLib.formats.dicom_source import Maker, read_source
from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.dicom_files import write_slices
from Testing.helpers.listener import Listener
from Testing.helpers.volume_files import body

pytest.importorskip("highdicom")
MAKER = Maker("a model", "1")
TAGS = {"PatientSex": (0x00100040, "CS"), "PatientBirthDate": (0x00100030, "DA"), "StudyDate": (0x00080020, "DA"),
        "StudyTime": (0x00080030, "TM"), "SliceThickness": (0x00180050, "DS"), "PatientID": (0x00100020, "LO"),
        "PatientName": (0x00100010, "PN"), "StudyID": (0x00200010, "SH"), "AccessionNumber": (0x00080050, "SH"),
        "PatientAge": (0x00101010, "AS"), "PatientWeight": (0x00101030, "DS"), "StudyDescription": (0x00081030, "LO"),
        "ReferringPhysicianName": (0x00080090, "PN"), "PatientIdentityRemoved": (0x00120062, "CS")}


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
    ("StudyDate", b"\x00\x00\x80\x3f", "FL"), ("PatientName", b"A ", "LO")])
def test_wrong_kinds_of_values_stop_no_writer(tmp_path: Path, name: str, value: bytes, representation: str) -> None:
    files, _ = exported(tmp_path, name, value, representation)
    assert {str(file.Modality) for file in files.values()} == {"SEG", "RTSTRUCT"}


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
