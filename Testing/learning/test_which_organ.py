"""Which organ a drawing shows: by its file's name, a table, an option or an answer, and none by a guess."""

from __future__ import annotations

import re

import numpy as np
import pytest
import yaml

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.cli import main
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.learning.value_names import value_names
from Testing.helpers.learn_folder import (
    SPACE,
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
from Testing.helpers.training_data import write_image


def test_a_label_map_needs_a_table_a_known_list_or_an_answer(tmp_path):
    labels = write_patient(tmp_path / "a", 0)
    write_image(tmp_path / "a" / "label.nii.gz", labels)
    with pytest.raises(UserError, match=r"label\.nii\.gz.*1, 2, 3.*--label-map"):
        plan_of(tmp_path)
    everything = ("partial", ("liver", "spleen", "left_kidney"))
    assert said(plan_of(tmp_path, label_map="1=liver,2=spleen,3=Left Kidney")) == {"a": everything}
    assert said(plan_of(tmp_path, label_map="word16")) == {"a": everything}
    assert said(plan_of(tmp_path, ask=lambda question: "word16")) == {"a": everything}
    assert said(plan_of(tmp_path, label_map="word16", annotated=["spleen"])) == {"a": ("partial", ("spleen",))}
    with pytest.raises(UserError, match="none for 3"):
        plan_of(tmp_path, label_map="1=liver,2=spleen")


@pytest.mark.parametrize(("name", "text"), [
    ("labels.json", '{"labels": {"background": 0, "liver": 1, "spleen": 2, "left_kidney": 3}}'),
    ("label.json", '{"0": "background", "1": "liver", "2": "spleen", "3": "left kidney"}'),
    ("label.csv", "value,name\n1,liver\n2,spleen\n3,LeftKidney\n"),
    ("labels.txt", '# ITK-SNAP\n    0     0    0    0        0  0  0    "Clear Label"\n'
                   '    1   255    0    0        1  1  1    "liver"\n    2     0  255    0        1  1  1    "spleen"\n'
                   '    3     0    0  255        1  1  1    "kidney left"\n'),
    ("label.ctbl", "# Color table\n0 Background 0 0 0 0\n1 liver 255 0 0 255\n2 spleen 0 255 0 255\n"
                   "3 left_kidney 0 0 255 255\n")])
def test_tables_beside_a_label_map_name_its_values(name, text, tmp_path):
    labels = write_patient(tmp_path / "a", 0)
    write_image(tmp_path / "a" / "label.nii.gz", labels)
    (tmp_path / "a" / name).write_text(text, "utf-8")
    assert said(plan_of(tmp_path)) == {"a": ("partial", ("liver", "spleen", "left_kidney"))}


def test_a_long_list_of_values_is_no_file(tmp_path):
    # Longer than a name may be, at which asking whether there is a file fails.
    listed = ",".join(f"{value}=organ number {value}" for value in range(1, 40))
    assert value_names(listed)[39] == "organ number 39"
    with pytest.raises(UserError):
        value_names("x" * 5000)


def test_a_slip_in_the_label_map_ends_the_run_before_the_folder_is_looked_at(tmp_path):
    """It left out the label maps, one after the other, and went on with what else there was."""
    labels = write_patient(tmp_path / "a", 0)
    write_mask(tmp_path / "a" / "liver.nii.gz", labels, 1)
    labels = write_patient(tmp_path / "b", 1)
    write_image(tmp_path / "b" / "drawn.nii.gz", labels)
    with pytest.raises(UserError, match=r"--label-map: expected a value and an organ such as 1=liver, found '2'"):
        plan_of(tmp_path, label_map="1=liver,2")


def test_only_annotated_organs_count_and_others_are_unknown(tmp_path):
    labels = write_patient(tmp_path / "a", 0)
    write_image(tmp_path / "a" / "label.nii.gz", labels)
    plan = plan_of(tmp_path, label_map="word16", annotated=["spleen"])
    known = known_voxels(plan, "a")
    np.testing.assert_array_equal(known["spleen"], labels == 2)
    assert not known["liver"].any() if "liver" in known else True
    manifest = load_manifest(plan.manifest)
    table = CandidateTable(4)
    codes = manifest.cases[0].read_codes(manifest.cases[0].read_image(), manifest.label_space, table)
    # Where the file says liver, it is anything but the spleen.
    allowed = {tuple(np.flatnonzero(table.table[code])) for code in np.unique(codes[labels == 1])}
    assert allowed == {(0, 1, 3)}


def test_all_organs_may_be_asked_for_but_not_beside_others(tmp_path, capsys):
    folder, out = tmp_path / "Fälle 1", tmp_path / "out"
    write_mask(folder / "a" / "liver.nii.gz", write_patient(folder / "a", 0), 1)
    assert main(["learn", str(folder), "-o", str(out), "--annotated", "liver,all"]) == 2
    assert "expected organs or all, found both ('liver,all')" in capsys.readouterr().err
    assert not out.exists()
    assert main(["learn", str(folder), "-o", str(out), "--annotated", "all"]) == 2
    assert "--yes: expected it where nobody can be asked" in capsys.readouterr().err
    assert "annotated: [liver]" in (out / "manifest.yaml").read_text(encoding="utf-8")


def test_known_organs_are_added_and_others_are_asked_about(tmp_path):
    labels = write_patient(tmp_path / "a", 0)
    write_mask(tmp_path / "a" / "aorta.nii.gz", labels, 1)
    write_mask(tmp_path / "a" / "Prostata_mask.nii.gz", labels, 2)
    plan = plan_of(tmp_path)
    assert plan.new_organs == ["aorta"]
    assert said(plan) == {"a": ("partial", ("aorta",))}
    assert "--new-organ prostata adds it" in problems_of(plan)[0]
    plan = plan_of(tmp_path, new_organs=["prostata"])
    assert said(plan) == {"a": ("partial", ("prostata", "aorta"))}
    questions = []

    def answer(question: str) -> str:
        questions.append(question)
        return "prostate"

    plan = plan_of(tmp_path, ask=answer)
    assert len(questions) == 1
    assert "'prostata'" in questions[0]
    assert set(said(plan)["a"][1]) == {"aorta", "prostate"}
    assert yaml.safe_load(plan.manifest.read_text("utf-8"))["label_space"] == [*SPACE.names, *plan.new_organs]
    with pytest.raises(UserError, match=r"--annotated: .*'milt'"):
        plan_of(tmp_path, annotated=["milt"])


@pytest.mark.parametrize("name", ["GTV liver", "Couch (außen)", "PTV+5mm", "z_Ring", r"Tumor\1", "zHelp (L)"])
def test_the_option_that_is_named_adds_the_organ(name, tmp_path):
    labels = (write_patient(tmp_path / "a", 0) == 1).astype(np.uint8)
    path = write_segments(tmp_path / "a" / "a.seg.nrrd", labels)
    header, separator, voxels = path.read_bytes().partition(b"\n\n")
    lines = [line for line in header.decode().split("\n") if not line.startswith(("Segment0_Name", "Segment0_ID"))]
    header = "\n".join([*lines, f"Segment0_Name:={name}", "Segment0_ID:=Segment_1"]).encode()
    path.write_bytes(header + separator + voxels)
    with pytest.raises(UserError) as error:
        plan_of(tmp_path)
    organ = re.search(r"--new-organ (\w+) adds it$", str(error.value))[1]
    assert said(plan_of(tmp_path, new_organs=[organ])) == {"a": ("partial", (organ,))}


def test_several_organs_in_one_option_are_refused_with_its_name(tmp_path):
    with pytest.raises(UserError, match=r"--new-organ: expected a name .* found 'a,b'; .* --new-organ is repeated"):
        plan_of(write_folder(tmp_path), new_organs=["a,b"])


def test_strokes_of_an_unknown_organ_name_the_way_to_add_it(tmp_path):
    labels = write_patient(tmp_path / "a", 0)
    write_stroke_file(tmp_path / "a" / "s.json", labels, "a/image.nii.gz", {"prostate": 2})
    with pytest.raises(UserError, match="--new-organ prostate"):
        plan_of(tmp_path)
    assert said(plan_of(tmp_path, new_organs=["prostate"])) == {"a": ("scribble", ("prostate",))}
