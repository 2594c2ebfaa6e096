"""Which prediction is scored against which reference: never one patient's against another's."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from PartialOrganSegLib.annotation import Kind
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.evaluation.pairing import label_files, predictions, references
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.listener import Listener


def case(name: str, image: str) -> Case:
    return Case(name=name, group=name, dataset="x", image=Path(image), kind=Kind.FULL, label=Path("label.nii.gz"))


PATIENTS = (case("p1", "p1/image.nii.gz"), case("p2", "p2/image.nii.gz"))


def paired(folder: Path, files: tuple[str, ...], cases: tuple[Case, ...] = PATIENTS) -> tuple[dict[str, str], str]:
    """Case to the name of its prediction, and what was warned of."""
    for name in files:
        (folder / name).touch()
    reporter = Listener()
    pairs = predictions(folder, cases, reporter)
    return {case: file.name for case, file in pairs.items()}, "\n".join(reporter.warnings)


def test_a_name_of_two_patients_ct_is_of_neither(tmp_path: Path) -> None:
    pairs, warned = paired(tmp_path, ("image.labels.nii.gz", "p2_image.labels.nii.gz"))
    assert pairs == {"p2": "p2_image.labels.nii.gz"}
    assert "image.labels.nii.gz may be of the cases p1, p2, so it is of none; call it p1_image or p2_image" in warned
    assert "no prediction for p1" in warned


def test_segmentations_of_slicer_in_a_folder_count_where_no_label_map_does(tmp_path: Path) -> None:
    for name in ("Müller 1.seg.nrrd", "b.labels.nii.gz", "b.seg.nrrd", "c.nii.gz"):
        (tmp_path / name).touch()
    assert {name: file.name for name, file in label_files(tmp_path).items()} == {
        "Müller 1": "Müller 1.seg.nrrd", "b": "b.labels.nii.gz", "c": "c.nii.gz"}
    assert set(label_files(tmp_path, of_cts=True)) == {"b", "c"}
    assert label_files(tmp_path / "b.seg.nrrd") == {"b": tmp_path / "b.seg.nrrd"}


def test_a_name_of_two_patients_ct_alone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="may be of the cases p1, p2") as raised:
        paired(tmp_path, ("image.labels.nii.gz",))
    assert raised.value.code is Code.CASE_UNPAIRED


def test_a_case_that_is_called_as_another_ones_ct(tmp_path: Path) -> None:
    crossed = (case("a", "cts/b.nii.gz"), case("b", "cts/c.nii.gz"))
    pairs, warned = paired(tmp_path, ("a.nii.gz", "b.nii.gz", "c.nii.gz"), crossed)
    assert pairs == {"a": "a.nii.gz", "b": "c.nii.gz"}
    assert "b.nii.gz may be of the cases a, b, so it is of none; call it cts_b or cts_c" in warned


def test_two_cases_on_one_ct_are_told_apart_by_their_own_names(tmp_path: Path) -> None:
    observers = (case("first", "cts/a.nii.gz"), case("second", "cts/a.nii.gz"))
    pairs, warned = paired(tmp_path, ("a.nii.gz", "second.nii.gz"), observers)
    assert pairs == {"second": "second.nii.gz"}
    assert "call it first or second" in warned


@pytest.mark.parametrize("names", [("p1.nii.gz", "p1_image.nii.gz"), ("one.nii.gz", "img.nrrd")])
def test_two_predictions_of_one_case_are_both_named(names: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected one prediction of case") as raised:
        paired(tmp_path, names, (*PATIENTS, case("one", "cts/img.nii.gz")))
    assert all(name in raised.value.found for name in names)


def test_a_corrected_result_is_its_labels_and_as_a_scribble_its_strokes(tmp_path: Path) -> None:
    """`refine` writes the labels of before and what was drawn beside the corrected labels."""
    written = ("p1.before.labels.nii.gz", "p1.labels.nii.gz", "p1.scribble.nii.gz", "p2.labels.nii.gz")
    pairs, _ = paired(tmp_path, written)
    assert pairs == {"p1": "p1.labels.nii.gz", "p2": "p2.labels.nii.gz"}
    assert label_files(tmp_path, scribble=True)["p1"].name == "p1.scribble.nii.gz"
    (tmp_path / "p1_label.nii.gz").touch()
    with pytest.raises(UserError, match=r"one file for a case, found p1\.labels\.nii\.gz and p1_label\.nii\.gz"):
        label_files(tmp_path)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_an_accent_in_two_signs_is_the_same_name(forms: tuple[str, str], tmp_path: Path) -> None:
    """Results made on macOS, references copied from elsewhere, or the other way round."""
    reference, prediction = (unicodedata.normalize(form, "J\u00fcrg 1") for form in forms)
    pairs, warned = paired(tmp_path, (f"{prediction}.labels.nii.gz",), (case(reference, "cts/image.nii.gz"),))
    assert list(pairs) == [reference]
    assert not warned
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs" / f"{reference}_label.nii.gz").touch()
    cases, _ = references(tmp_path / "refs", WORD16, ["all"], False, tmp_path, Listener())
    assert cases[0].image.parent == tmp_path


def test_results_and_cts_that_are_numbered_as_nnunet_does(tmp_path: Path) -> None:
    (tmp_path / "refs").mkdir()
    for name in ("liver_1.nii.gz", "liver_2.nii.gz"):
        (tmp_path / "refs" / name).touch()
    (tmp_path / "cts").mkdir()
    (tmp_path / "cts" / "liver_1_0000.nii.gz").touch()
    reporter = Listener()
    cases, _ = references(tmp_path / "refs", WORD16, ["all"], False, tmp_path / "cts", reporter)
    assert [case.image.name for case in cases] == ["liver_1_0000.nii.gz", "liver_2.nii.gz"]
    assert reporter.warnings == [f"{tmp_path / 'cts'}: no CT for liver_2; call it as the reference"]
    (tmp_path / "results").mkdir()
    pairs, warned = paired(tmp_path / "results", ("liver_1_0000.labels.nii.gz", "liver_3_0000.labels.nii.gz"),
                           tuple(cases))
    assert pairs == {"liver_1": "liver_1_0000.labels.nii.gz"}
    assert "no reference for liver_3_0000.labels.nii.gz" in warned


def test_label_maps_in_folders_of_a_folder_are_seen(tmp_path: Path) -> None:
    (tmp_path / "p1" / "dicom").mkdir(parents=True)
    (tmp_path / "p1" / "dicom" / "1.dcm").touch()
    with pytest.raises(UserError, match=r"expected label maps \(.*\), found none$"):
        label_files(tmp_path)
    (tmp_path / "p2").mkdir()
    (tmp_path / "p2" / "image.labels.nii.gz").touch()
    with pytest.raises(UserError, match=r"found none; there is p2.image\.labels\.nii\.gz: name that folder") as raised:
        label_files(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("as_files", [False, True])
def test_references_as_their_own_predictions_are_told(as_files: bool, tmp_path: Path) -> None:
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs" / "a.nii.gz").touch()
    (tmp_path / "link").symlink_to(tmp_path / "refs")
    name = "a.nii.gz" if as_files else ""
    reporter = Listener()
    cases, _ = references(tmp_path / "refs" / name, WORD16, ["all"], False, None, reporter)
    pairs = predictions(tmp_path / "link" / name, cases, reporter)
    assert list(pairs) == ["a"]
    [warned] = reporter.warnings
    assert "found the references themselves (a), so that these figures are perfect and say nothing" in warned
