"""What a row of the papers' tables sees: cases dealt into sets, what a set annotates, and the patients themselves."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import label_space_of_names
from Testing.helpers.repository import SCRIPTS
from Testing.helpers.training_data import write_yaml

sys.path.insert(0, str(SCRIPTS))
from reproduction import anatomies, phantoms
from reproduction.references import Reference, manifest_references
from reproduction.situations import situation, write_manifest
from reproduction.tables import TABLES

ORGANS = ("liver", "spleen", "left_kidney")


def read(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def references(count: int) -> list[Reference]:
    return [Reference(f"case{number}", Path(f"{number}.nii"), Path(f"{number}_label.nii")) for number in range(count)]


def test_cases_are_dealt_once_and_tested_ones_stay():
    datasets = TABLES["pann"].datasets
    deals = [situation(references(24), TABLES["pann"].small_organs, datasets, seed) for seed in (0, 1)]
    for deal in deals:
        dealt = []
        for cases in deal.training.values():
            dealt += [case.name for case in cases]
        assert {name: len(cases) for name, cases in deal.training.items()} == {"F": 3, "A": 5, "B": 5, "C": 5}
        assert len(set(dealt)) == len(dealt) == 18
        assert not {case.name for case in deal.test} & set(dealt)
    # Another seed deals other training sets but is scored on the same cases, or seeds could not be paired.
    assert deals[0].test == deals[1].test
    assert deals[0].training != deals[1].training


def test_sets_without_a_known_organ_are_left_out():
    deal = situation(references(8), ("liver", "spleen"), TABLES["marginal"].datasets, 0)
    assert list(deal.training) == ["F", "P1", "P2"]
    with pytest.raises(UserError, match="at least 3 training cases"):
        situation(references(3), ("liver", "spleen"), TABLES["marginal"].datasets, 0)


def test_training_sees_only_what_a_set_annotates(blocks, tmp_path):
    cases = manifest_references(tmp_path, blocks, ORGANS, Reporter())
    table = TABLES["marginal"]
    deal = situation(cases, ORGANS, table.datasets, 0)
    sets = [dataset for dataset in table.datasets if dataset.name in deal.training]
    manifest = load_manifest(write_manifest(tmp_path, deal, sets, ORGANS))
    values = {case.dataset: set(np.unique(read(case.label)).tolist()) for case in manifest.cases}
    assert values == {"F": {0, 1, 2, 3}, "P1": {0, 1}, "P2": {0, 2}, "P4": {0, 3}}
    assert {case.dataset: case.annotated for case in manifest.cases}["P4"] == ("left_kidney",)

    word = situation(cases, ORGANS, TABLES["word"].datasets, 0)
    scribbles, dense = (load_manifest(write_manifest(tmp_path, word, [dataset], ORGANS)).cases
                        for dataset in TABLES["word"].datasets)
    # Both rows learn from the same CTs; only what is annotated differs.
    assert [case.image for case in scribbles] == [case.image for case in dense]
    for drawn, full in zip(scribbles, dense, strict=True):
        strokes, labels = read(drawn.label), read(full.label)
        # 255 is "not drawn on": strokes are a small part of a slice, and never contradict the full label.
        assert (strokes == 255).mean() > 0.9
        assert (strokes == labels)[strokes < 255].all()


def test_a_network_of_one_organ_sees_its_organ_alone(blocks, tmp_path):
    """Shi's binary networks: the other organs of F are background, and the organ is class 1 whatever the table's."""
    cases = manifest_references(tmp_path, blocks, ORGANS, Reporter())
    datasets = TABLES["shi_single"].datasets
    place = situation(cases, ORGANS, datasets, 0)
    sets = [dataset for dataset in datasets if dataset.name in ("F", "P4")]
    of_kidney = load_manifest(write_manifest(tmp_path, place, sets, ("left_kidney",)))
    assert of_kidney.label_space.names == ("left_kidney",)
    by_image = {str(case.image.resolve()): case.labels for case in cases}
    for case in of_kidney.cases:
        expected = read(by_image[str(case.image)]) == ORGANS.index("left_kidney") + 1
        assert (read(case.label) == expected).all()
        assert expected.any()
    # Liver is class 1 of the table too: its partial label is the table's own file, F's is not, which has all organs.
    liver = load_manifest(write_manifest(tmp_path, place, [datasets[0], datasets[1]], ("liver",)))
    table = load_manifest(write_manifest(tmp_path, place, [datasets[0], datasets[1]], ORGANS))
    files = [{case.dataset: case.label for case in manifest.cases} for manifest in (liver, table)]
    assert files[0]["P1"] == files[1]["P1"]
    assert set(np.unique(read(files[0]["F"]))) == {0, 1}
    assert set(np.unique(read(files[1]["F"]))) == {0, 1, 2, 3}


def test_only_cases_that_decide_every_organ_serve(blocks, tmp_path):
    manifest = write_yaml(blocks.parent / "mixed.yaml", {"datasets": [
        {"name": "full", "kind": "full", "cases": [{"image": "case0_image.nii.gz", "label": "case0_label.nii.gz"}]},
        {"name": "two", "kind": "partial", "annotated": ["liver", "spleen"], "label_map": {3: ["background"]},
         "cases": [{"image": "case1_image.nii.gz", "label": "case1_label.nii.gz"}]},
        {"name": "coarse", "kind": "full", "label_map": {2: ["spleen", "stomach"]},
         "cases": [{"image": "case2_image.nii.gz", "label": "case2_label.nii.gz"}]},
        {"name": "none", "kind": "unlabelled", "cases": [{"image": "case3_image.nii.gz"}]}]})
    names = [case.name for case in manifest_references(tmp_path, manifest, ("liver", "left_kidney"), Reporter())]
    # The coarse label merges spleen and stomach, of which neither is asked for, so that case decides every organ.
    assert names == ["case0_image", "case2_image"]
    # Here the coarse one drops out, and the partial one decides both.
    (first, second) = manifest_references(tmp_path, manifest, ("spleen", "liver"), Reporter())
    assert [first.name, second.name] == ["case0_image", "case1_image"]
    original = read(blocks.parent / "case1_label.nii.gz")
    assert (read(second.labels) == np.array([0, 2, 1, 0])[original]).all()


def test_unlabelled_organs_are_background_for_the_naive_row_alone(blocks, tmp_path):
    table = TABLES["marginal"]
    cases = manifest_references(tmp_path, blocks, ORGANS, Reporter())
    deal = situation(cases, ORGANS, table.datasets, 0)
    sets = [dataset for dataset in table.datasets if dataset.name in deal.training]
    honest, naive = (load_manifest(write_manifest(tmp_path, deal, sets, ORGANS, naive)).cases
                     for naive in (False, True))
    # The same files: only the meaning of value 0 differs.
    assert [case.label for case in honest] == [case.label for case in naive]
    space = label_space_of_names("benchmark", ORGANS)
    for first, second in zip(honest, naive, strict=True):
        most_candidates = []
        for case in (first, second):
            candidates = CandidateTable(space.class_count)
            codes = case.read_codes(case.read_image(), space, candidates)
            most_candidates.append(candidates.table[codes].sum(-1).max())
        assert most_candidates[1] == 1  # every voxel is of one class
        assert (most_candidates[0] > 1) == (first.kind is Kind.PARTIAL)
    assert [row.key for row in table.rows if row.unlabelled_is_background] == ["naive"]


def test_cases_of_a_patient_stay_together():
    cases = [replace(case, patient=f"patient{number // 2}") for number, case in enumerate(references(24))]
    for seed in range(3):
        deal = situation(cases, TABLES["pann"].small_organs, TABLES["pann"].datasets, seed)
        groups = [deal.test, *deal.training.values()]
        assert sum(map(len, groups)) == 24
        # No patient lies in two groups, or there would be more than the twelve.
        patients_of_groups = 0
        for group in groups:
            patients_of_groups += len({case.patient for case in group})
        assert patients_of_groups == 12
    assert len(deal.test) == 6
    thirty = situation(references(30), TABLES["marginal"].organs, TABLES["marginal"].datasets, 0)
    assert len(thirty.test) == 8


def test_label_maps_of_people_get_a_ct(tmp_path):
    grid = Grid((60, 50, 30), (2.0, 2.0, 4.0), (10.0, 20.0, 30.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    labels = np.zeros(grid.shape, np.uint8)
    labels[5:25, 10:40, 10:30] = 1
    labels[5:25, 10:40, 30:50] = 2
    (tmp_path / "maps").mkdir()
    for name in ("a", "ö", "word_template"):
        write_labelmap(tmp_path / "maps" / f"{name}.nii.gz", Volume(labels, grid))
    files = anatomies.make_anatomies(tmp_path / "work", tmp_path / "maps", Reporter())
    assert [image.name for image, _ in files] == ["a.nii.gz", "ö.nii.gz"]
    images = []
    # A template is the mean of many people and no patient.
    for image, target in files:
        ct, small = read_ct(image), read_labelmap(target)
        assert ct.grid.same_as(small.grid)
        assert small.grid.spacing == (4.0, 4.0, 4.0)
        for value in (1, 2):
            volume = (small.array == value).sum() * small.grid.voxel_ml
            assert volume == pytest.approx((labels == value).sum() * grid.voxel_ml, rel=0.1)
        # The grid runs to the right: canonical, the liver lies on the other side of the spleen.
        assert np.argwhere(small.array == 1)[:, 2].mean() > np.argwhere(small.array == 2)[:, 2].mean()
        images.append(ct.array)
    assert (images[0] != images[1]).mean() > 0.5  # each map its own scan
    with pytest.raises(UserError, match="expected label maps"):
        anatomies.make_anatomies(tmp_path / "work", tmp_path, Reporter())
    write_labelmap(tmp_path / "maps" / "b.nii.gz", Volume(labels + 17, grid))
    with pytest.raises(UserError, match=r"b\.nii\.gz: expected values 0\.\.16 \(WORD\), found 19"):
        anatomies.make_anatomies(tmp_path / "work", tmp_path / "maps", Reporter())


def test_each_phantom_is_another_patient(tmp_path, monkeypatch):
    monkeypatch.setattr(phantoms, "SHAPE_ZYX", (60, 36, 54))
    monkeypatch.setattr(phantoms, "SPACING_MM", 8.0)
    image, label = phantoms.make_patient(tmp_path, 0)
    first, second = read(label), read(phantoms.make_patient(tmp_path, 1)[1])
    assert {1, 2, 3, 4, 5} <= set(np.unique(first).tolist())
    # Less than 70% of the organs' voxels agree: two phantoms are as unlike as two people, not noise on one body.
    assert (first > 0).sum() * 0.7 > ((first == second) & (first > 0)).sum()
    written = [path.stat().st_mtime_ns for path in (image, label)]
    phantoms.make_patient(tmp_path, 0)
    assert [path.stat().st_mtime_ns for path in (image, label)] == written
    # The number alone decides the patient, so that others can reproduce the runs.
    again, _ = phantoms.make_patient(tmp_path / "again", 0)
    assert (read(again) == read(image)).all()
