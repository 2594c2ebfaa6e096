"""Files that are easily taken for something else: another patient's, another organ's, strokes, a list of labels."""

from __future__ import annotations

import json
import ntpath
import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from PartialOrganSegLib.datasets.manifest import check_manifest, load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import ConsoleReporter
from PartialOrganSegLib.formats.own_slices import OwnSlices
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.learning.label_maps import MOST_VALUES, MaskSource, join_masks
from PartialOrganSegLib.learning.plan import FolderOptions, make_plan
from PartialOrganSegLib.learning.run import LearnOptions, prepare
from PartialOrganSegLib.learning.state import read_state
from PartialOrganSegLib.learning.survey import Drawing, Form
from Testing.helpers.finetune_data import ORGANS, ct_of, write_start
from Testing.helpers.learn_folder import (
    SPACE,
    grid_of,
    known_voxels,
    plan_of,
    problems_of,
    said,
    write_mask,
    write_patient,
)
from Testing.helpers.other_orders import stored_otherwise
from Testing.helpers.training_data import write_image


def test_an_outline_of_the_body_takes_nothing_from_the_organs_in_it(tmp_path):
    labels = write_patient(tmp_path / "a", 0)
    # By name before the liver, and between both organs.
    write_image(tmp_path / "a" / "external.nii.gz", np.ones_like(labels))
    write_mask(tmp_path / "a" / "liver.nii.gz", labels, 1)
    write_image(tmp_path / "a" / "ptv.nii.gz", (labels > 0).astype(np.uint8))
    write_mask(tmp_path / "a" / "spleen.nii.gz", labels, 2)
    plan = plan_of(tmp_path)
    known = known_voxels(plan, "a")
    np.testing.assert_array_equal(known["liver"], labels == 1)
    np.testing.assert_array_equal(known["spleen"], labels == 2)
    assert any("external" in line for line in problems_of(plan))


def test_more_structures_than_a_byte_has_values_are_one_line(tmp_path):
    labels = write_patient(tmp_path, 0)
    path = write_mask(tmp_path / "liver.nii.gz", labels, 1)
    drawing = Drawing(path, Form.LABELS, grid_of(labels), (1,))
    with pytest.raises(UserError, match=f"at most {MOST_VALUES} structures"):
        join_masks([MaskSource(drawing, {1: MOST_VALUES + 1})], OwnSlices(grid_of(labels)), tmp_path / "joint.nii.gz")


def test_a_mask_of_0_and_255_is_a_mask(tmp_path):
    labels = write_patient(tmp_path / "a", 0)
    write_image(tmp_path / "a" / "liver.nii.gz", (255 * (labels == 1)).astype(np.uint8))
    plan = plan_of(tmp_path)
    assert said(plan) == {"a": ("partial", ("liver",))}
    np.testing.assert_array_equal(known_voxels(plan, "a")["liver"], labels == 1)
    assert not check_manifest(load_manifest(plan.manifest))


def test_a_folders_table_renames_no_mask_that_is_called_after_its_organ(tmp_path):
    labels = write_patient(tmp_path / "a", 0)
    (tmp_path / "labels.json").write_text(json.dumps({"1": "liver", "2": "left kidney"}), "utf-8")
    write_mask(tmp_path / "a" / "spleen.nii.gz", labels, 2)
    plan = plan_of(tmp_path)
    assert said(plan) == {"a": ("partial", ("spleen",))}
    # A table that is called as the mask speaks of it alone.
    (tmp_path / "a" / "spleen.json").write_text(json.dumps({"1": "liver"}), "utf-8")
    with pytest.raises(UserError, match="a table that calls its value 1 spleen, as the file, found liver"):
        plan_of(tmp_path)


def test_a_number_in_a_masks_name_moves_it_to_no_other_patient(tmp_path):
    first = write_patient(tmp_path / "1", 0)
    write_patient(tmp_path / "2", 1)
    write_mask(tmp_path / "1" / "liver_2.nii.gz", first, 1)
    plan = plan_of(tmp_path)
    assert said(plan) == {"1": ("partial", ("liver",)), "2": ("unlabelled", ())}
    np.testing.assert_array_equal(known_voxels(plan, "1")["liver"], first == 1)


def test_a_mask_beside_one_ct_that_is_called_after_another_is_nobodys(tmp_path):
    labels = write_patient(tmp_path / "anna", 0)
    write_patient(tmp_path / "bert", 0)
    write_mask(tmp_path / "anna" / "bert_liver.nii.gz", labels, 1)
    write_mask(tmp_path / "anna" / "spleen.nii.gz", labels, 2)
    plan = plan_of(tmp_path)
    assert said(plan) == {"anna": ("partial", ("spleen",)), "bert": ("unlabelled", ())}
    assert "expected a drawing on anna, beside which it lies, found one that is called after bert" in \
        problems_of(plan)[0]


def test_what_a_manifest_in_the_folder_says_of_other_values_is_kept(tmp_path):
    labels = write_patient(tmp_path / "data", 0, "case.nii.gz")
    numbers = np.array([0, 20, 10, 1])[labels].astype(np.uint8)  # 1, the liver's number, is something else here
    write_image(tmp_path / "data" / "drawn.nii.gz", numbers)
    content = {"label_space": ["liver", "spleen", "left_kidney"], "datasets": [
        {"name": "listed", "kind": "partial", "annotated": ["liver", "spleen"], "weight": 3.0,
         "label_map": {10: ["spleen"], 20: ["liver"]}, "other_values": "background",
         "cases": [{"image": "case.nii.gz", "label": "drawn.nii.gz"}]}]}
    (tmp_path / "data" / "manifest.yaml").write_text(yaml.safe_dump(content), "utf-8")
    plan = plan_of(tmp_path)
    known = known_voxels(plan, "case")
    np.testing.assert_array_equal(known["liver"], labels == 1)
    np.testing.assert_array_equal(known["spleen"], labels == 2)
    assert load_manifest(plan.manifest).cases[0].weight == 3


def test_two_data_sets_may_number_their_patients_alike(tmp_path):
    for centre in ("here", "there"):
        labels = write_patient(tmp_path / centre / "imagesTr", 0, "case_1_0000.nii.gz")
        write_mask(tmp_path / centre / "labelsTr" / "case_1.nii.gz", labels, 1)
        description = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "numTraining": 1,
                       "file_ending": ".nii.gz"}
        (tmp_path / centre / "dataset.json").write_text(json.dumps(description), "utf-8")
    plan = plan_of(tmp_path)
    assert [case.name for case in load_manifest(plan.manifest).cases] == ["case_1", "there case_1"]


def write_listed(folder: Path, seeds: dict[str, int], group: str | None = None) -> None:
    """A manifest with a case for each name, of one group where it is stated."""
    cases = []
    for name, seed in seeds.items():
        labels = write_patient(folder, seed, f"{name}.nii.gz")
        write_image(folder / f"{name}_label.nii.gz", labels)
        cases.append({"image": f"{name}.nii.gz", "label": f"{name}_label.nii.gz"} | ({"group": group} if group else {}))
    content = {"label_space": list(SPACE.names), "datasets": [{"name": "d", "kind": "full", "cases": cases}]}
    (folder / "manifest.yaml").write_text(yaml.safe_dump(content), "utf-8")


def groups_in(plan) -> dict[str, str]:
    return {case.name: case.group for case in load_manifest(plan.manifest).cases}


def test_patients_of_two_manifests_are_apart_by_number_and_together_by_image(tmp_path):
    """All groups were written as if somebody had stated them: two patients called 001 were one, and a CT that two
    manifests list was trained and validated on."""
    write_listed(tmp_path / "a ü" / "data", {"001": 0, "first": 1})
    write_listed(tmp_path / "b" / "data", {"001": 2, "second": 1})
    write_listed(tmp_path / "c" / "data", {"001": 3})
    groups = groups_in(plan_of(tmp_path))
    assert sorted(groups) == ["001", "data 001", "data 001 2", "first", "second"]
    assert groups["first"] == groups["second"]
    assert len(set(groups.values())) == 4


def test_a_group_that_two_manifests_state_stays_one_and_is_told(tmp_path, capsys):
    write_listed(tmp_path / "a", {"early": 0, "late": 1}, "anna")
    write_listed(tmp_path / "b", {"other": 2}, "anna")
    write_patient(tmp_path / "anna", 3)
    assert set(groups_in(make_plan(tmp_path, tmp_path / "out", SPACE, FolderOptions(), None,
                                   ConsoleReporter())).values()) == {"anna"}
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("is taken for")[2] for line in lines if "the group 'anna'" in line] == [
        " the same patient as that of the CT anna; if they are two, give one another 'group'"] * 2


def test_a_table_called_dataset_json_hides_no_patients(tmp_path):
    labels = write_patient(tmp_path / "a", 0)
    write_image(tmp_path / "a" / "drawn.nii.gz", labels)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"liver": 1, "spleen": 2, "left kidney": 3}}), "utf-8")
    assert said(plan_of(tmp_path)) == {"a": ("partial", ("liver", "spleen", "left_kidney"))}


def test_a_folder_on_another_disk_is_named_whole(tmp_path, monkeypatch):
    """As on Windows, where no relative path leads from one disk to another."""
    start = write_start(tmp_path / "start")
    labels = write_patient(tmp_path / "in" / "a", 0)
    write_mask(tmp_path / "in" / "a" / "liver.nii.gz", labels, 1)
    monkeypatch.setattr(os.path, "relpath", lambda path, start: ntpath.relpath("C:\\in", "D:\\out"))
    prepare(tmp_path / "in", tmp_path / "out", LearnOptions(model=str(start.folder)))
    state = read_state(tmp_path / "out")
    assert Path(state.folder) == (tmp_path / "in").resolve()
    assert len(load_manifest(tmp_path / "out" / "manifest.yaml").cases) == 1


def test_a_table_that_is_not_understood_is_named(tmp_path):
    labels = write_patient(tmp_path / "a", 0)
    write_image(tmp_path / "a" / "drawn.nii.gz", labels)
    (tmp_path / "a" / "drawn.csv").write_text("1,liver,255,0,0\n2,spleen,0,255,0\n", "utf-8")
    with pytest.raises(UserError, match=r"found 1, 2, 3, and in drawn.csv no line such as 1,liver"):
        plan_of(tmp_path)


def test_masks_in_another_axis_order_are_those_of_their_ct(tmp_path):
    """One that is used as it is and two that are put together; nothing but the voxels' places says whose they are."""
    drawn = {"a": (1,), "b": (2, 3)}
    labels = {name: write_patient(tmp_path / "cts", seed, f"{name}.nii.gz") for seed, name in enumerate(drawn)}
    labels["a"] = labels["a"][:-1]
    write_image(tmp_path / "cts" / "a.nii.gz", ct_of(0)[0][:-1])
    for name, values in drawn.items():
        for value in values:
            mask = (labels[name] == value).astype(np.uint8)
            stored = stored_otherwise(Volume(mask, grid_of(mask)))
            write_image(tmp_path / "drawn" / f"{ORGANS[value - 1]}.nii.gz", stored.array, stored.grid)
    plan = plan_of(tmp_path)
    assert problems_of(plan) == []
    for name, values in drawn.items():
        for value in values:
            np.testing.assert_array_equal(known_voxels(plan, name)[ORGANS[value - 1]], labels[name] == value)
