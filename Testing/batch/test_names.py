"""What results are called: as the user named the CT, and never another patient's when a run goes on with more CTs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import SimpleITK as sitk

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.segmenting.result_files import result_name
from Testing.helpers.batch_data import quick_model, segmented, table, write_ct


@pytest.fixture(autouse=True)
def model(monkeypatch, tmp_path) -> Path:
    return quick_model(monkeypatch, tmp_path / "model")


def voxels_of(out: Path, name: str) -> int:
    """How many voxels the label map of a case has: each CT here has another number."""
    return int(sitk.GetArrayFromImage(sitk.ReadImage(str(out / f"{name}.labels.nii.gz"))).sum())


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_results_are_called_after_a_link_not_after_its_target(tmp_path):
    # As datalad and git-annex store files: the name that people know is a link.
    key = write_ct(tmp_path / "store" / "MD5E-s123--0123456789abcdef.nii.gz")
    link = tmp_path / "in" / "patient1.nii.gz"
    link.parent.mkdir()
    link.symlink_to(key)
    assert segmented(link, "-o", tmp_path / "one") == 1
    assert (tmp_path / "one" / "patient1.labels.nii.gz").is_file()
    (tmp_path / "linked").symlink_to(link.parent)
    write_ct(tmp_path / "other" / "patient1.nii.gz", hu=90)
    assert segmented(tmp_path / "linked", tmp_path / "other", "-o", tmp_path / "two") == 2
    assert set(table(tmp_path / "two")) == {"linked_patient1", "other_patient1"}


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_links_to_nothing_and_in_a_circle_fail_alone(tmp_path):
    folder = tmp_path / "in"
    write_ct(folder / "a.nii.gz")
    (folder / "gone.nii.gz").symlink_to(tmp_path / "nothing")
    (folder / "circle.nii.gz").symlink_to(folder / "circle.nii.gz")
    (folder / "back").symlink_to(folder)
    assert main(["segment", str(folder), "-o", str(folder / "out"), "--no-preview"]) == 1
    rows = table(folder / "out")
    assert {name: row["state"] for name, row in rows.items()} == {"a": "done", "gone": "failed", "circle": "failed"}
    assert all("Error" not in row["error"] for row in rows.values())


def test_dots_stay_in_names_and_relative_folders_have_one(tmp_path, monkeypatch):
    assert result_name(Path("1.3.6.1.4.1.nii.gz")) == "1.3.6.1.4.1"
    (tmp_path / "v1.0").mkdir()
    monkeypatch.chdir(tmp_path / "v1.0")
    assert result_name(Path(".")) == "v1.0"


def test_a_result_never_changes_its_patient_when_a_ct_is_added(tmp_path):
    """The new CT comes first in the order, and has the same file name in another folder."""
    out = tmp_path / "out"
    old, second = write_ct(tmp_path / "q" / "ct.nii.gz", slices=20), write_ct(tmp_path / "q" / "b.nii.gz")
    assert segmented(old, second, "-o", out, "--resume") == 2
    before = voxels_of(out, "ct")
    new = write_ct(tmp_path / "p" / "ct.nii.gz", slices=30)
    assert segmented(new, old, second, "-o", out, "--resume") == 1
    assert voxels_of(out, "ct") == before
    assert voxels_of(out, "p_ct") > before
    assert segmented(new, second, "-o", out, "--resume") == 0
    assert {name: Path(row["input"]) for name, row in table(out).items()} == {"ct": old, "b": second, "p_ct": new}


def test_another_patients_ct_of_the_same_name_gets_a_name_of_its_own(tmp_path):
    out = tmp_path / "out"
    assert segmented(write_ct(tmp_path / "p" / "ct.nii.gz", slices=20), "-o", out, "--resume") == 1
    before = voxels_of(out, "ct")
    assert segmented(write_ct(tmp_path / "q" / "ct.nii.gz", slices=30), "-o", out, "--resume") == 1
    assert voxels_of(out, "ct") == before
    assert voxels_of(out, "q_ct") > before


def test_a_ct_that_was_copied_elsewhere_keeps_its_name_by_its_content(tmp_path):
    out = tmp_path / "out"
    ct = write_ct(tmp_path / "p" / "ct.nii.gz")
    assert segmented(ct, "-o", out, "--resume") == 1
    copy = tmp_path / "scratch" / "ct.nii.gz"
    copy.parent.mkdir()
    shutil.copyfile(ct, copy)
    assert segmented(copy, "-o", out, "--resume") == 0
    assert set(table(out)) == {"ct"}


def test_an_output_that_the_user_gave_earlier_is_no_name_for_later(tmp_path):
    out, ct = tmp_path / "out", write_ct(tmp_path / "ct.nii.gz")
    listed = tmp_path / "cases.csv"
    listed.write_text(f"image,output\n{ct},first\n", encoding="utf-8")
    assert segmented(listed, "-o", out) == 1
    assert segmented(ct, "-o", out, "--resume") == 1
    assert set(table(out)) == {"first", "ct"}
