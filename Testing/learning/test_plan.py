"""What `learn` makes of a folder: whose each drawing is, and the manifest that says it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from PartialOrganSegLib.datasets.manifest import check_manifest, load_manifest
from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.formats.dicom_source import Maker
from PartialOrganSegLib.formats.rtstruct import write_rtstruct
from PartialOrganSegLib.formats.writing import write_table
from PartialOrganSegLib.learning import survey as survey_module
from PartialOrganSegLib.learning.plan import FolderOptions, Plan, make_plan
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.dicom_cases import make_case
from Testing.helpers.finetune_data import ct_of
from Testing.helpers.learn_folder import (
    SPACE,
    grid_of,
    known_voxels,
    plan_of,
    problems_of,
    said,
    write_folder,
    write_mask,
    write_patient,
    write_segments,
    write_stroke_file,
)
from Testing.helpers.listener import Listener
from Testing.helpers.training_data import write_image


def write_volumes(path: Path, labels: np.ndarray) -> None:
    """The table that `segment` writes with the labels."""
    voxel_ml = grid_of(labels).voxel_ml
    write_table(path, [{"organ": name, "volume_ml": float((labels == value).sum() * voxel_ml)}
                       for value, name in enumerate(SPACE.names, 1)])


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> Plan:
    return plan_of(write_folder(tmp_path_factory.mktemp("meine Fälle ü")))


def test_each_way_of_drawing_is_understood(planned):
    assert said(planned) == {
        "Müller 1": ("partial", ("liver",)), "b": ("partial", ("spleen", "left_kidney")),
        "c": ("scribble", ("spleen",)), "d": ("partial", ("liver",)), "nobody": ("unlabelled", ())}
    assert planned.left_out == []
    assert planned.new_organs == []


def test_the_manifest_says_voxel_by_voxel_what_was_drawn(planned):
    for name, seed, organs in (("Müller 1", 0, {"liver": 1}), ("b", 1, {"spleen": 2, "left_kidney": 3}),
                               ("d", 3, {"liver": 1})):
        known = known_voxels(planned, name)
        for organ, value in organs.items():
            np.testing.assert_array_equal(known[organ], ct_of(seed)[1] == value)
        # An organ that was not accepted, or not drawn, is nowhere certain.
        assert {organ for organ, voxels in known.items() if voxels.any()} == set(organs)


def test_the_manifest_is_sound_and_its_paths_are_relative(planned):
    assert check_manifest(load_manifest(planned.manifest)) == []
    text = planned.manifest.read_text("utf-8")
    assert str(planned.folder) not in text
    assert "../Müller 1/image.nii.gz" in text


def test_a_second_look_leaves_our_own_results_out(planned):
    again = plan_of(planned.folder)
    assert said(again) == said(planned)


def test_the_table_shows_a_ct_a_row(planned):
    rows = {row["case"]: row for row in planned.rows()}
    assert rows["b"]["organs"] == "spleen, left_kidney"
    assert rows["b"]["drawn in"] == "learnt/labels/b.nii.gz, b/segmentations/kidney_left.nii.gz, " \
                                    "b/segmentations/spleen.nii.gz"
    assert rows["nobody"]["drawn in"] == ""


def test_masks_in_a_tree_of_their_own_are_paired_by_name_or_geometry(tmp_path):
    first = write_patient(tmp_path / "imagesTr", 0, "liver_1_0000.nii.gz")
    second = write_patient(tmp_path / "imagesTr", 1, "liver_12_0000.nii.gz")
    write_mask(tmp_path / "labelsTr" / "liver_1.nii.gz", first, 1)
    write_mask(tmp_path / "labelsTr" / "liver_12.nii.gz", second, 1)
    # A third CT has a grid of its own, so that a mask without a telling name can only be its.
    image, labels = ct_of(3)
    write_image(tmp_path / "imagesTr" / "x.nii.gz", image[:-2])
    write_mask(tmp_path / "more" / "spleen.nii.gz", labels[:-2], 2)
    plan = plan_of(tmp_path, annotated=["liver", "spleen"])
    paired = {case.name: ([path.name for path in case.labelling.files], case.how) for case in plan.cases}
    assert paired == {"liver_1": ([], []), "liver_12": ([], []), "x": (["spleen.nii.gz"], ["geometry"])}
    plan = plan_of(tmp_path, label_map="1=liver")
    assert {case.name: (case.labelling.annotated, case.how) for case in plan.cases} == {
        "liver_1": (["liver"], ["name"]), "liver_12": (["liver"], ["name"]), "x": (["spleen"], ["geometry"])}


def test_a_mask_of_another_geometry_and_one_of_two_cts_are_refused(tmp_path):
    labels = write_patient(tmp_path / "a", 0)
    write_mask(tmp_path / "a" / "liver.nii.gz", labels[:-1], 1)
    write_mask(tmp_path / "a" / "spleen.nii.gz", labels, 2)
    write_patient(tmp_path / "b", 1)
    write_mask(tmp_path / "elsewhere" / "left_kidney.nii.gz", labels, 3)
    plan = plan_of(tmp_path)
    assert said(plan) == {"a": ("partial", ("spleen",)), "b": ("unlabelled", ())}
    geometry, unclear = plan.left_out
    assert (geometry.code, unclear.code) == (Code.GEOMETRY_DIFFERS, Code.CASE_UNPAIRED)
    assert "liver.nii.gz" in geometry.text()
    assert "left_kidney.nii.gz" in unclear.text()


def test_masks_that_overlap_leave_open_which_of_both_it_is(tmp_path):
    labels = write_patient(tmp_path / "a", 0)
    wide = labels.copy()
    wide[(labels == 0) & (np.roll(labels, 1, axis=2) == 1)] = 1
    both = np.roll(labels == 1, 1, axis=2) & (labels == 1)
    write_mask(tmp_path / "a" / "liver.nii.gz", labels, 1)
    write_image(tmp_path / "a" / "spleen.nii.gz", ((labels == 2) | both).astype(np.uint8))
    plan = plan_of(tmp_path)
    known = known_voxels(plan, "a")
    np.testing.assert_array_equal(known["liver"], (labels == 1) & ~both)
    np.testing.assert_array_equal(known["spleen"], labels == 2)


def test_two_files_with_one_organ_are_refused_unless_one_is_left_out(tmp_path):
    labels = write_patient(tmp_path / "a", 0)
    write_mask(tmp_path / "a" / "liver.nii.gz", labels, 1)
    write_mask(tmp_path / "a" / "earlier" / "liver_manual.nii.gz", labels, 1)
    with pytest.raises(UserError, match="one file with the liver"):
        plan_of(tmp_path)
    for pattern in ("*_manual*", "a/earlier", "earlier"):
        assert said(plan_of(tmp_path, leave_out=[pattern])) == {"a": ("partial", ("liver",))}


def test_a_pattern_that_nothing_is_called_is_a_warning(tmp_path):
    folder = write_folder(tmp_path / "meine Fälle ü")
    listener = Listener()
    options = FolderOptions(leave_out=["nobody", "liver_old*", "b/segmentations/spl*", f"{folder}/d"])
    make_plan(folder, tmp_path / "out", SPACE, options, reporter=listener)
    assert listener.warnings == [f"--leave-out: no file or folder is called '{pattern}'; a name, or a path as it is "
                                 f"within {folder}" for pattern in ("liver_old*", f"{folder}/d")]


def test_strokes_beside_accepted_masks_are_one_case(tmp_path):
    labels = write_patient(tmp_path / "a", 0)
    write_segments(tmp_path / "a" / "a.seg.nrrd", labels, {"liver": "accepted"})
    write_stroke_file(tmp_path / "a" / "strokes.json", labels, "image.nii.gz", {"spleen": 2})
    plan = plan_of(tmp_path)
    assert said(plan) == {"a": ("partial", ("liver",))}
    known = known_voxels(plan, "a")
    assert (known["spleen"] & (labels == 2)).any()
    assert check_manifest(load_manifest(plan.manifest)) == []


def test_structures_in_dicom_belong_to_their_series(tmp_path):
    source, labels = make_case(tmp_path / "patient" / "ct")
    write_rtstruct(tmp_path / "patient" / "rs.dcm", source.on_slices(labels), source, WORD16.organs, Maker("t", "1"))
    plan = plan_of(tmp_path, space=WORD16)
    present = set(np.unique(labels.array).tolist()) - {0}
    names = [organ.name for organ in WORD16.organs if organ.index in present]
    (kind, organs), = said(plan).values()
    assert kind == "partial"
    assert set(organs) == set(names)
    known = known_voxels(plan, plan.cases[0].name)
    np.testing.assert_array_equal(known["spleen"], labels.array == 2)


def test_structures_of_another_series_are_nobodys(tmp_path):
    # Two studies of one patient have the same planes, but not the same organs in them.
    source, labels = make_case(tmp_path / "patient" / "ct")
    make_case(tmp_path / "later" / "ct")
    write_rtstruct(tmp_path / "later" / "rs.dcm", source.on_slices(labels), source, WORD16.organs, Maker("t", "1"))
    shutil.rmtree(tmp_path / "patient")
    uid = source.headers[0].SeriesInstanceUID
    with pytest.raises(UserError, match=rf"structures of the series .*, found such of {uid}"):
        plan_of(tmp_path, space=WORD16)


@pytest.mark.skipif(os.name == "nt", reason="pipes have no names there")
def test_files_that_cannot_be_read_are_left_out(tmp_path, monkeypatch):
    labels = write_patient(tmp_path / "a", 1)
    write_mask(tmp_path / "a" / "liver.nii.gz", labels, 1)
    for name in ("p.json", "p.nii.gz", "p.dcm"):
        os.mkfifo(tmp_path / "a" / name)
    (tmp_path / "a" / "note.json").write_text("{}")

    def refused(file: Path, result: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(survey_module, "_look_at_json", refused)
    plan = plan_of(tmp_path)
    assert said(plan) == {"a": ("partial", ("liver",))}
    assert any("note.json: expected a file that can be read, found Permission denied" in line
               for line in problems_of(plan))


def test_linked_folders_are_looked_into_once_and_name_their_cases(tmp_path):
    disk = tmp_path / "disk 7"
    labels = write_patient(disk, 1)
    write_mask(disk / "liver.nii.gz", labels, 1)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "patient a").symlink_to(disk)
    (folder / "patient b").symlink_to(disk)
    (disk / "back").symlink_to(folder)
    plan = plan_of(folder)
    assert said(plan) == {"patient a": ("partial", ("liver",))}


def test_a_manifest_in_the_folder_is_taken_as_it_is(tmp_path):
    labels = write_patient(tmp_path / "run" / "data", 0, "case_1.nrrd")
    write_image(tmp_path / "run" / "data" / "case_1_labels.nrrd", np.where(labels == 2, 1, 0).astype(np.uint8))
    content = {"label_space": ["spleen", "prostate"], "datasets": [{"name": "scene", "cases": [
        {"name": "Frau ü", "image": "case_1.nrrd", "label": "case_1_labels.nrrd", "kind": "partial",
         "annotated": ["spleen"]}]}]}
    (tmp_path / "run" / "data" / "manifest.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    plan = plan_of(tmp_path)
    assert plan.new_organs == ["prostate"]
    np.testing.assert_array_equal(known_voxels(plan, "Frau ü")["spleen"], labels == 2)
    assert plan.rows()[0]["organs"] == "spleen"


def test_results_of_segment_are_nothing_that_was_drawn(tmp_path):
    labels = write_patient(tmp_path, 0, "p7.nii.gz")
    write_image(tmp_path / "p7.labels.nii.gz", labels)
    write_volumes(tmp_path / "p7.volumes.csv", labels)
    write_mask(tmp_path / "p7_liver.nii.gz", labels, 1)
    plan = plan_of(tmp_path)
    assert said(plan) == {"p7": ("partial", ("liver",))}
    assert "a result of a model" in problems_of(plan)[0]


def test_a_corrected_result_counts_though_it_was_copied_without_its_times(tmp_path):
    labels = write_patient(tmp_path, 0, "p7.nii.gz")
    write_volumes(tmp_path / "p7.volumes.csv", labels)
    labels[labels == 2] = 0
    write_segments(tmp_path / "p7.seg.nrrd", labels)
    plan = plan_of(tmp_path)
    assert said(plan) == {"p7": ("partial", ("liver", "left_kidney"))}


def test_a_folder_without_cts_or_without_drawings_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"expected CTs"):
        plan_of(tmp_path)
    write_patient(tmp_path, 0)
    with pytest.raises(UserError, match="something drawn"):
        plan_of(tmp_path)
    with pytest.raises(UserError, match="nothing there"):
        plan_of(tmp_path / "missing")
