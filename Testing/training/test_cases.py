"""No image is trained and validated on at once, in whatever kind of file it lies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import SimpleITK as sitk

from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.training.cases import read_cases
from PartialOrganSegLib.training.recipe import load_recipe
from Testing.helpers.listener import Listener
from Testing.helpers.training_data import write_case, write_recipe, write_yaml


def turned(image: sitk.Image) -> sitk.Image:
    return sitk.Flip(image, (True, False, False))


@pytest.mark.parametrize(("suffix", "change"), [(".nrrd", sitk.Image), (".nii", sitk.Image), (".mha", turned),
                                                (".nii.gz", lambda image: sitk.Cast(image, sitk.sitkFloat32))])
def test_a_converted_image_is_validated_on_alone(tmp_path: Path, suffix: str, change) -> None:
    entries = [write_case(tmp_path, f"case{number}", number) for number in range(3)]
    # Another data set has the third CT as well, under a name of its own.
    image = change(sitk.ReadImage(str(tmp_path / entries[2]["image"])))
    sitk.WriteImage(image, str(tmp_path / f"theirs{suffix}"), True)
    labels = change(sitk.ReadImage(str(tmp_path / entries[2]["label"])))
    sitk.WriteImage(sitk.Cast(labels, sitk.sitkUInt8), str(tmp_path / "theirs_label.mha"))
    theirs = {"image": f"theirs{suffix}", "label": "theirs_label.mha", "name": "theirs"}
    datasets = [{"name": "ours", "kind": "full", "cases": entries},
                {"name": "another", "kind": "full", "cases": [theirs]}]
    manifest = write_yaml(tmp_path / "manifest.yaml", {"datasets": datasets})
    recipe = load_recipe(write_recipe(tmp_path, manifest, validation={"groups": ["case2"], "every": 3}))
    listener = Listener()
    cases = read_cases(recipe, load_manifest(manifest, listener), listener)
    assert [cached.case.name for cached in cases.validation] == ["case2"]
    assert [cached.case.name for cached in cases.training] == ["case0", "case1"]
    assert any("theirs: has the voxels of case2" in line for line in listener.warnings)


def test_cases_of_one_file_stay_on_both_sides(tmp_path: Path) -> None:
    # As fine-tuning has it, which validates on a part of a CT and says so by groups.
    entry = write_case(tmp_path, "case0", 0)
    shutil.copyfile(tmp_path / entry["label"], tmp_path / "part.nii.gz")
    entries = [entry | {"group": "a"}, entry | {"name": "part", "label": "part.nii.gz", "group": "b"}]
    manifest = write_yaml(tmp_path / "manifest.yaml",
                          {"datasets": [{"name": "d", "kind": "full", "cases": entries}]})
    recipe = load_recipe(write_recipe(tmp_path, manifest, validation={"groups": ["b"], "every": 3}))
    cases = read_cases(recipe, load_manifest(manifest, Listener()), Listener())
    assert [cached.case.name for cached in cases.training] == ["case0"]
