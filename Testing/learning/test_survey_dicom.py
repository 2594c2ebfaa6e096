"""`learn` in folders as archives export them: scouts and dose reports lie with the slices or beside them."""

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, XRayRadiationDoseSRStorage, generate_uid

from PartialOrganSegLib.formats.dicom_export import write_dicom
from PartialOrganSegLib.formats.dicom_source import Maker
from PartialOrganSegLib.learning.pairing import pair
from PartialOrganSegLib.learning.survey import survey
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.dicom_cases import make_case


def drawn_on(slices: Path, structures: Path) -> None:
    """A CT in one folder, structures and a segmentation of it in another."""
    source, labels = make_case(slices)
    write_dicom({kind: structures / f"{kind}.dcm" for kind in ("rtstruct", "seg")}, labels, source, WORD16.organs,
                Maker("a test", "1"))


def add_scout(slices: Path, folder: Path) -> None:
    """A picture from the front, by whose file a folder begins."""
    scout = dcmread(next(slices.glob("im*.dcm")))
    scout.ImageType, scout.SeriesDescription, scout.SeriesNumber = ["ORIGINAL", "PRIMARY", "LOCALIZER"], "Scout", 1
    scout.SeriesInstanceUID, scout.SOPInstanceUID = generate_uid(), generate_uid()
    scout.file_meta.MediaStorageSOPInstanceUID = scout.SOPInstanceUID
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    scout.save_as(folder / "a scout.dcm")


def add_report(folder: Path) -> None:
    """A dose report, which holds no pixels."""
    report = Dataset()
    report.file_meta = FileMetaDataset()
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.SOPClassUID, report.SOPInstanceUID = XRayRadiationDoseSRStorage, generate_uid()
    report.PatientID, report.Modality, report.SeriesInstanceUID = "4711", "SR", generate_uid()
    report.save_as(folder / "a report.dcm", enforce_file_format=True)


def test_structures_belong_to_the_ct_that_a_scout_lies_with(tmp_path: Path) -> None:
    folder = tmp_path / "Müller J"
    drawn_on(folder, folder)
    add_scout(folder, folder)
    cases, problems = pair(survey(folder))
    assert not problems
    assert [sorted(drawing.path.name for drawing in case.drawings) for case in cases] == [["rtstruct.dcm", "seg.dcm"]]
    assert cases[0].how == ["series", "series"]


@pytest.mark.parametrize("beside", ["report", "scout"])
def test_a_ct_is_one_where_something_lies_beside_its_folder(tmp_path: Path, beside: str) -> None:
    slices = tmp_path / "CT"
    drawn_on(slices, tmp_path)
    if beside == "report":
        add_report(tmp_path)
    else:
        add_scout(slices, tmp_path)
    result = survey(tmp_path)
    assert [ct.path for ct in result.cts] == [slices]
    assert not result.left_out
    cases, problems = pair(result)
    assert len(cases[0].drawings) == 2
    assert not problems


def test_two_series_in_one_folder_are_told_what_helps_here(tmp_path: Path) -> None:
    # An archive may export all series of a patient into one folder; `learn` and manifests know of no --series.
    for name in ("arterial", "venous"):
        make_case(tmp_path / name, SeriesDescription=name)
        for file in (tmp_path / name).iterdir():
            file.rename(tmp_path / f"{name} {file.name}")
        (tmp_path / name).rmdir()
    problem, = survey(tmp_path).left_out
    assert "found 2" in problem.text()
    assert "for learn and manifests put each series into a folder of its own: 1: '" in problem.text()
