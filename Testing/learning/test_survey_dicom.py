"""`learn` in folders as archives export them: scouts and dose reports lie with the slices or beside them."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, XRayRadiationDoseSRStorage, generate_uid

from PartialOrganSegLib.datasets.manifest import check_manifest, load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.dicom_export import write_dicom
from PartialOrganSegLib.formats.dicom_source import Maker
from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.learning.pairing import pair
from PartialOrganSegLib.learning.run import LearnOptions, prepare
from PartialOrganSegLib.learning.survey import survey
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.dicom_cases import make_case
from Testing.helpers.learn_folder import known_voxels, plan_of, problems_of, said


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


def into_one_folder(folder: Path, drawn: dict[str, str | None], **tags: object) -> np.ndarray:
    """Series of one study as archives export them, all files in one folder, with what is drawn on each: by the series'
    description "rtstruct", "seg" or nothing. Gives the labels."""
    study = generate_uid()
    for number, (name, kind) in enumerate(drawn.items(), 1):
        source, labels = make_case(folder / name, SeriesDescription=name, StudyInstanceUID=study, SeriesNumber=number,
                                   **tags)
        if kind is not None:
            write_dicom({kind: folder / name / f"{kind}.dcm"}, labels, source, WORD16.organs, Maker("a test", "1"))
        for file in (folder / name).iterdir():
            file.rename(folder / f"{name} {file.name}")
        (folder / name).rmdir()
    return labels.array


def spleen_on(path: Path, labels: np.ndarray, ct: Path) -> None:
    """A mask on the CT's grid."""
    mask = (labels == WORD16.index("spleen")).astype(np.uint8)
    write_labelmap(path, Volume(mask, read_ct(ct).grid))


def test_series_in_one_folder_are_a_ct_each_and_have_the_structures_that_name_them(tmp_path: Path) -> None:
    folder = tmp_path / "Müller J"
    labels = into_one_folder(folder, {"arterial": "rtstruct", "venous": "seg", "late": None})
    scout = dcmread(next(folder.glob("late im*.dcm")))
    scout.ImageType, scout.SeriesInstanceUID = ["ORIGINAL", "PRIMARY", "LOCALIZER"], generate_uid()
    scout.save_as(folder / "scout.dcm")
    for _time in range(2):  # an output in the user's folder is no part of it
        plan = plan_of(folder, space=WORD16)
        assert not problems_of(plan)
        assert said(plan)["1 arterial"] == said(plan)["2 venous"]
        assert said(plan)["1 arterial"][0] == "partial"
        assert said(plan)["3 late"] == ("unlabelled", ())
        for name in ("1 arterial", "2 venous"):
            known = known_voxels(plan, name)["spleen"]
            np.testing.assert_array_equal(known, labels == WORD16.index("spleen"))
    manifest = load_manifest(plan.manifest)
    assert not check_manifest(manifest)
    # Of one patient: never on both sides of a split.
    assert len({case.group for case in manifest.cases}) == 1
    for case in manifest.cases:
        assert [file.name.split()[0] for file in case.image.iterdir()] == [case.name.split()[1]] * len(labels)


def test_a_mask_of_one_of_several_series_in_a_folder_is_known_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "Müller J"
    labels = into_one_folder(folder, {"arterial": None, "venous": None})
    ct = make_case(tmp_path / "another")[0].path
    spleen_on(folder / "spleen.nii.gz", labels, ct)
    shutil.rmtree(ct)
    with pytest.raises(UserError, match=r"one that fits (1 arterial, 2 venous|2 venous, 1 arterial)"):
        plan_of(folder, space=WORD16)
    shutil.rmtree(folder / "learnt")
    with pytest.raises(UserError, match="one that fits"):
        prepare(folder, folder / "learnt", LearnOptions())
    assert not (folder / "learnt").exists()
    (folder / "spleen.nii.gz").rename(folder / "2 Venous spleen.nii.gz")
    plan = plan_of(folder, space=WORD16)
    assert said(plan) == {"1 arterial": ("unlabelled", ()), "2 venous": ("partial", ("spleen",))}


def test_a_series_beside_the_folder_of_another_one_is_a_ct(tmp_path: Path) -> None:
    into_one_folder(tmp_path, {"arterial": "rtstruct"})
    make_case(tmp_path / "late", SeriesDescription="late")
    plan = plan_of(tmp_path, space=WORD16)
    assert not problems_of(plan)
    assert {name: kind for name, (kind, _) in said(plan).items()} == {"1 arterial": "partial", "late": "unlabelled"}


@pytest.mark.parametrize("pattern", ["2 venous", "venous *"])
def test_one_of_several_series_is_left_out_by_its_name_or_that_of_its_files(tmp_path: Path, pattern: str) -> None:
    folder = tmp_path / "Müller J"
    into_one_folder(folder, {"arterial": "rtstruct", "venous": None})
    assert [ct.path.name for ct in survey(folder).cts] == ["1 arterial", "2 venous"]
    found = survey(folder, [pattern])
    assert [ct.path.name for ct in found.cts] == ["1 arterial"]
    assert not found.unused_patterns
    assert survey(folder, ["3 late"]).unused_patterns == ["3 late"]


def test_slices_are_copied_where_they_cannot_be_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    into_one_folder(tmp_path, {"arterial": "rtstruct", "venous": None})
    assert not check_manifest(load_manifest(plan_of(tmp_path, space=WORD16).manifest))


def test_series_that_nothing_tells_apart_are_told_what_helps_here(tmp_path: Path) -> None:
    into_one_folder(tmp_path, {"arterial": None, "venous": None}, SeriesInstanceUID="")
    problem, = survey(tmp_path).left_out
    assert "found 2" in problem.text()
    assert "for learn and manifests put each series into a folder of its own: 1: '" in problem.text()
