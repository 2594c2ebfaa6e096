"""No patient is on both sides of a split: cases of one image, study or patient are one group, whatever their names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import XRayRadiationDoseSRStorage

from PartialOrganSegLib.datasets.case import Manifest
from PartialOrganSegLib.datasets.manifest import check_manifest, load_manifest
from Testing.helpers.dicom_files import write_slices
from Testing.helpers.listener import Listener
from Testing.helpers.training_data import write_image, write_yaml


def ct(path: Path, seed: int) -> Path:
    """Noise, of which each seed has another; all of one size, as uncompressed CTs are."""
    array = np.random.default_rng(seed).integers(-1000, 1000, (4, 8, 12)).astype(np.int16)
    write_image(path, array)
    return path


def loaded(folder: Path, listener: Listener | None = None, **datasets: list[dict[str, str]]) -> Manifest:
    """The manifest of unlabelled data sets, given by their cases."""
    content = {"datasets": [{"name": name, "kind": "unlabelled", "cases": cases} for name, cases in datasets.items()]}
    return load_manifest(write_yaml(folder / "m.yaml", content), listener or Listener())


def groups(manifest: Manifest) -> dict[str, str]:
    return {case.name: case.group for case in manifest.cases}


def test_one_image_in_two_data_sets_is_one_group_and_that_is_said(tmp_path):
    for seed in range(3):
        ct(tmp_path / f"ct{seed}.nii", seed)
    listener = Listener()
    manifest = loaded(tmp_path, listener,
                      a=[{"image": f"ct{seed}.nii", "name": f"a{seed}"} for seed in range(3)],
                      # The same files, spelled in another way.
                      b=[{"image": f"../{tmp_path.name}/ct{seed}.nii", "name": f"b{seed}"} for seed in (1, 2)])
    assert groups(manifest) == {"a0": "a0", "a1": "a1", "a2": "a2", "b1": "a1", "b2": "a2"}
    assert listener.warnings == ["cases: of one image or patient, so they are trained or validated on together: "
                                 "b1 and a1 (one image), b2 and a2 (one image)"]


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_links_and_copies_are_the_same_image_and_others_of_its_size_are_not(tmp_path):
    original = ct(tmp_path / "ct.nii", 1)
    (tmp_path / "link.nii").symlink_to(original)
    os.link(original, tmp_path / "hard.nii")
    shutil.copyfile(original, tmp_path / "copy.nii")
    ct(tmp_path / "other.nii", 2)
    names = ["ct", "link", "hard", "copy", "other"]
    manifest = loaded(tmp_path, a=[{"image": f"{name}.nii"} for name in names])
    assert groups(manifest) == {"ct": "ct", "link": "ct", "hard": "ct", "copy": "ct", "other": "other"}


def test_images_that_differ_between_the_samples_alone_are_two(tmp_path):
    """The comparison by samples is not the last word: files of 4 MB that differ in one byte."""
    content = bytearray(np.random.default_rng(0).bytes(4 << 20))
    for name in "ab":
        (tmp_path / f"{name}.nii").write_bytes(content)
        # Far from the beginning, the middle and the end, where samples are taken.
        content[100_000] ^= 1
    manifest = loaded(tmp_path, a=[{"image": "a.nii"}, {"image": "b.nii"}])
    assert groups(manifest) == {"a": "a", "b": "b"}


def test_headers_of_the_same_text_with_other_voxels_are_two(tmp_path):
    for seed, name in enumerate("abc"):
        ct(tmp_path / name / "ct.mhd", min(seed, 1))
    manifest = loaded(tmp_path, a=[{"image": f"{name}/ct.mhd", "name": name} for name in "abc"])
    assert groups(manifest) == {"a": "a", "b": "b", "c": "b"}


def series(folder: Path, seed: int, **tags: str) -> None:
    array = np.random.default_rng(seed).integers(-1000, 1000, (3, 8, 8)).astype(np.int16)
    write_slices(folder, array, **tags)


def test_phases_of_one_study_and_patient_are_one_group(tmp_path):
    series(tmp_path / "arterial", 1, StudyInstanceUID="1.2.1", PatientID="P1", SeriesInstanceUID="1.3.1")
    series(tmp_path / "venous", 2, StudyInstanceUID="1.2.1", PatientID="P1", SeriesInstanceUID="1.3.2")
    series(tmp_path / "follow-up", 3, StudyInstanceUID="1.2.2", PatientID="P1", SeriesInstanceUID="1.3.3")
    series(tmp_path / "other", 4, StudyInstanceUID="1.2.3", PatientID="P2", SeriesInstanceUID="1.3.4")
    listener = Listener()
    manifest = loaded(tmp_path, listener, a=[{"image": "arterial"}, {"image": "other"}],
                      b=[{"image": "venous"}, {"image": "follow-up"}])
    assert groups(manifest) == {"arterial": "arterial", "other": "other", "venous": "arterial", "follow-up": "arterial"}
    assert "venous and arterial (one study), follow-up and arterial (one patient)" in listener.warnings[0]
    # Groups that the manifest states are the user's word.
    stated = loaded(tmp_path, listener, a=[{"image": "arterial", "group": "p"}, {"image": "follow-up", "group": "q"}])
    assert groups(stated) == {"arterial": "p", "follow-up": "q"}
    assert len(listener.warnings) == 1


def test_a_report_before_the_slices_does_not_part_the_phases_of_a_patient(tmp_path):
    series(tmp_path / "arterial", 1, StudyInstanceUID="1.2.1", PatientID="P1", SeriesInstanceUID="1.3.1")
    series(tmp_path / "venous", 2, StudyInstanceUID="1.2.1", PatientID="P1", SeriesInstanceUID="1.3.2")
    # Such files lie among the slices of many exports: structures, dose reports, presentation states.
    report = dcmread(next((tmp_path / "venous").iterdir()), stop_before_pixels=True)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = XRayRadiationDoseSRStorage
    report.Modality = "SR"
    report.save_as(tmp_path / "venous" / "00 report.dcm")
    manifest = loaded(tmp_path, a=[{"image": "arterial"}, {"image": "venous"}])
    assert groups(manifest) == {"arterial": "arterial", "venous": "arterial"}


def test_check_warns_of_one_image_in_groups_that_the_manifest_states(tmp_path):
    ct(tmp_path / "ct.nii", 1)
    manifest = loaded(tmp_path, a=[{"image": "ct.nii", "group": "p", "name": "x"},
                                   {"image": "ct.nii", "group": "q", "name": "y"}])
    listener = Listener()
    assert check_manifest(manifest, listener) == []
    assert listener.warnings == ["y and x: one image in the groups q and p, so it may be trained and validated on at "
                                 "once"]


@pytest.mark.parametrize("identity", ["", "ANONYMOUS", "0000", "same for all"])
def test_ids_of_anonymised_files_join_nobody(tmp_path, identity):
    names = ["a", "b", "c"]
    for number, name in enumerate(names):
        series(tmp_path / name, number, StudyInstanceUID=f"1.2.{number}", PatientID=identity)
    manifest = loaded(tmp_path, a=[{"image": name} for name in names])
    assert groups(manifest) == dict(zip(names, names, strict=True))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=10), st.integers(0, 5))
def test_no_image_is_on_both_sides_of_any_split(tmp_path_factory, seeds, seed):
    folder = tmp_path_factory.mktemp("split")
    for number in {*seeds}:
        ct(folder / f"ct{number}.nii", number)
        # All labels alike: they are not what cases are recognised by.
        ct(folder / f"seg{number}.nii", 99)
    cases = [{"image": f"ct{number}.nii", "label": f"seg{number}.nii", "name": f"case{place}"}
             for place, number in enumerate(seeds)]
    content = {"datasets": [{"name": f"set{half}", "kind": "full", "cases": cases[half::2]} for half in range(2)],
               "splits": {"validation": 0.5, "seed": seed}}
    manifest = load_manifest(write_yaml(folder / "m.yaml", content))
    validated = set(manifest.validation_groups())
    validation = {case.image for case in manifest.cases if case.group in validated}
    training = {case.image for case in manifest.cases if case.group not in validated}
    assert not validation & training
    assert bool(validated) is (len({*seeds}) > 1)


def warned(folder: Path, *names: str, **group_of: str) -> list[str]:
    """What is said of CTs in files of these names; `group_of` states groups."""
    for seed, name in enumerate(names):
        ct(folder / f"{name}.nii", seed)
    listener = Listener()
    loaded(folder, listener, a=[{"image": f"{name}.nii"} | ({"group": group_of[name]} if name in group_of else {})
                                for name in names])
    return listener.warnings


@pytest.mark.parametrize("names", [("p7_visit1", "p7_visit2"), ("p7 Visit 01", "P7-visit-2"), ("p7", "p7_followup"),
                                   ("sub-7_ses-01_ct", "sub-7_ses-02_ct"), ("p7_baseline", "p7 follow-up 1"),
                                   ("p7tp1", "p7tp2")])
def test_cases_that_are_called_like_visits_of_one_patient_are_told(tmp_path, names):
    line, = warned(tmp_path, *names, "p8", "p9_visit1")
    assert line == ("cases: called like visits of one patient, of which one may be learnt from and another measured "
                    f"on: {' and '.join(names)}; write one 'group' beside them, or different ones")
    # What the manifest states is known.
    assert not warned(tmp_path, *names, **dict.fromkeys(names, "p7"))
    assert not warned(tmp_path, *names, **{name: name for name in names})


@pytest.mark.parametrize("names", [("visit1", "visit2"), ("ct_visit1", "ct_visit2"), ("scan1", "scan2"),
                                   ("p7", "p8_visit1"), ("visitor1", "visitor2"), ("a_1", "a_2")])
def test_other_numbers_are_no_visits(tmp_path, names):
    assert not warned(tmp_path, *names)


def test_of_many_patients_with_visits_some_are_named(tmp_path):
    line, = warned(tmp_path, *(f"p{patient}_visit{visit}" for patient in range(5) for visit in range(2)))
    assert "p0_visit0 and p0_visit1; p1_visit0 and p1_visit1; p2_visit0 and p2_visit1; and those of 2 more" in line
