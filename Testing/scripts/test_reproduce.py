"""The papers' tables in small: what a row sees, what it is trained with, and how it is told."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from PartialOrganSegLib.annotation import Kind
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.events import Reporter
from Testing.helpers.repository import SCRIPTS
from Testing.helpers.training_data import write_manifest as write_blocks
from Testing.helpers.training_data import write_yaml

sys.path.insert(0, str(SCRIPTS))
import reproduce
from reproduction import phantoms
from reproduction.budgets import FULL, SMALL, row_recipe
from reproduction.comparison import FAILS, HOLDS, NOISE, judge_claims
from reproduction.references import Reference, manifest_references
from reproduction.runs import Result
from reproduction.situations import situation, write_manifest
from reproduction.tables import TABLES, Claim

ORGANS = ("liver", "spleen", "left_kidney")
EVERY_ROW = [(table, row) for table in TABLES.values() for row in table.rows]
NAMES = [f"{table.key}-{row.key}" for table, row in EVERY_ROW]


def read(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def references(count: int) -> list[Reference]:
    return [Reference(f"case{number}", Path(f"{number}.nii"), Path(f"{number}_label.nii")) for number in range(count)]


@pytest.fixture
def blocks(tmp_path):
    """Five block cases with a full label of three organs: their manifest."""
    return write_blocks(tmp_path / "blöcks", cases=5)


def test_two_rows_end_to_end(blocks, tmp_path, capsys):
    command = ["--table", "word", "--data", str(blocks), "--rows", "pce,dense", "--steps", "2", "--seeds", "1",
               "--organs", ",".join(ORGANS), "--work", str(tmp_path / "work"), "-o", str(tmp_path / "out"),
               "--device", "cpu"]
    assert reproduce.main(command) == 0
    told = json.loads((tmp_path / "out" / "word.json").read_text(encoding="utf-8"))
    assert [(row["row"], row["published"]) for row in told["rows"]] == [("pce", 0.7206), ("dense", 0.8667)]
    assert told["claims"] == []  # none is about these two
    for row in told["rows"]:
        figures = row["seeds"]["0"]
        assert all(set(organs) == set(ORGANS) for organs in figures["dice"].values())
        assert 0 <= figures["mean"] <= 1
    text = (tmp_path / "out" / "word.md").read_text(encoding="utf-8")
    assert "| pCE | scribble_pce | scribbles |" in text
    assert "--table word" in text
    with Image.open(tmp_path / "out" / "word.png") as image:
        assert image.size[0] > 300
    results = sorted((tmp_path / "work" / "runs").rglob("result.json"))
    times = [path.stat().st_mtime_ns for path in results]
    assert len(results) == 2
    assert reproduce.main(command) == 0  # finished: nothing is trained again
    assert [path.stat().st_mtime_ns for path in results] == times
    capsys.readouterr()
    assert reproduce.main([*command, "--rows", "pcee"]) == 1
    assert "found 'pcee' (did you mean 'pce'?)" in capsys.readouterr().err


@pytest.mark.parametrize(("table", "row"), EVERY_ROW, ids=NAMES)
def test_every_row_is_a_shipped_recipe_with_equal_steps(table, row, tmp_path):
    recipe = row_recipe(table, row, replace(SMALL, steps=97), tmp_path / "manifest.yaml", 3)
    assert sum(stage.steps for stage in recipe.resolved_stages()) == 97
    assert recipe.seed == 3
    assert recipe.manifest == tmp_path / "manifest.yaml"
    assert {stage.optimiser.name for stage in recipe.resolved_stages()} == {"adamw"}
    assert table.organs[:len(row.organs)] == row.organs  # or its labels would be numbered differently
    first = row_recipe(table, table.rows[0], FULL, tmp_path / "manifest.yaml", 0)
    full = row_recipe(table, row, FULL, tmp_path / "manifest.yaml", 0)
    assert sum(s.steps for s in full.resolved_stages()) == sum(s.steps for s in first.resolved_stages())


def test_small_budget_keeps_what_makes_the_method(tmp_path):
    def stages(key, row):
        table = TABLES[key]
        row = next(one for one in table.rows if one.key == row)
        return row_recipe(table, row, SMALL, tmp_path / "m.yaml", 0).resolved_stages()

    full, union = stages("pann", "pann_abc")
    assert full.use == [Kind.FULL]
    assert union.losses == {"marginal_cross_entropy": 1.0, "prior_primal_dual": 0.1}
    assert union.sampling.full_share == 0.75
    assert (full.steps, union.steps) == (222, 278)  # 80 and 100 thousand of 180
    assert union.pseudo_labels.every == 28  # ten times a stage, as there
    assert stages("pann", "semi_a")[1].treat_as_unlabelled == [Kind.PARTIAL, Kind.SCRIBBLE]
    assert stages("marginal", "exclusion")[1].losses["exclusion_dice"] == 2.0
    assert stages("word", "em_ivm")[0].losses == {"marginal_cross_entropy": 1.0, "entropy": 0.1, "intensity": 0.1}
    assert [stage.phase for stage in stages("pipo", "scales_3_1")] == ["deep_supervision"]


def test_cases_are_dealt_once_and_tested_ones_stay():
    datasets = TABLES["pann"].datasets
    deals = [situation(references(24), TABLES["pann"].small_organs, datasets, seed) for seed in (0, 1)]
    for deal in deals:
        dealt = [case.name for cases in deal.training.values() for case in cases]
        assert {name: len(cases) for name, cases in deal.training.items()} == {"F": 3, "A": 5, "B": 5, "C": 5}
        assert len(set(dealt)) == len(dealt) == 18
        assert not {case.name for case in deal.test} & set(dealt)
    assert deals[0].test == deals[1].test
    assert deals[0].training != deals[1].training


def test_sets_without_a_known_organ_are_left_out():
    deal = situation(references(8), ("liver", "spleen"), TABLES["marginal"].datasets, 0)
    assert list(deal.training) == ["F", "P1", "P2"]
    with pytest.raises(reproduce.UserError, match="at least 3 training cases"):
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
    assert [case.image for case in scribbles] == [case.image for case in dense]
    for drawn, whole in zip(scribbles, dense, strict=True):
        strokes, labels = read(drawn.label), read(whole.label)
        assert (strokes == 255).mean() > 0.9
        assert (strokes == labels)[strokes < 255].all()


def test_only_cases_that_decide_every_organ_serve(blocks, tmp_path):
    manifest = write_yaml(blocks.parent / "mixed.yaml", {"datasets": [
        {"name": "full", "kind": "full", "cases": [{"image": "case0_image.nii.gz", "label": "case0_label.nii.gz"}]},
        {"name": "two", "kind": "partial", "annotated": ["liver", "spleen"], "label_map": {3: ["background"]},
         "cases": [{"image": "case1_image.nii.gz", "label": "case1_label.nii.gz"}]},
        {"name": "coarse", "kind": "full", "label_map": {2: ["spleen", "stomach"]},
         "cases": [{"image": "case2_image.nii.gz", "label": "case2_label.nii.gz"}]},
        {"name": "none", "kind": "unlabelled", "cases": [{"image": "case3_image.nii.gz"}]}]})
    found = [case.name for case in manifest_references(tmp_path, manifest, ("liver", "left_kidney"), Reporter())]
    assert found == ["case0_image", "case2_image"]
    (first, second) = manifest_references(tmp_path, manifest, ("spleen", "liver"), Reporter())
    assert [first.name, second.name] == ["case0_image", "case1_image"]
    original = read(blocks.parent / "case1_label.nii.gz")
    assert (read(second.labels) == np.array([0, 2, 1, 0])[original]).all()


def results(*means: float) -> dict[int, Result]:
    """A result a seed; four test cases around its mean Dice."""
    return {seed: Result({f"case{n}": {"liver": mean + 0.01 * (n - 1.5), "spleen": None} for n in range(4)}, 1.0)
            for seed, mean in enumerate(means)}


@pytest.mark.parametrize(("better", "worse", "verdict"), [
    ((0.80, 0.81), (0.70, 0.72), HOLDS), ((0.70, 0.72), (0.80, 0.81), FAILS), ((0.70, 0.80), (0.72, 0.70), NOISE)])
def test_claims_are_judged_against_the_noise(better, worse, verdict):
    table = replace(TABLES["pann"], claims=(Claim("pann_abc", "full"), Claim("own", "full")))
    (judged,) = judge_claims(table, {"pann_abc": results(*better), "full": results(*worse)})
    assert judged.verdict == verdict
    assert judged.difference == pytest.approx(np.mean(better) - np.mean(worse))
    differences = np.subtract(better, worse)  # all cases of a seed differ alike: what is left is the seeds' spread
    assert judged.noise == pytest.approx(2 * differences.std(ddof=1) / np.sqrt(2))
    assert judged.published == pytest.approx(0.7833 - 0.7535)


def test_phantoms_are_patients_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(phantoms, "SHAPE_ZYX", (60, 36, 54))
    monkeypatch.setattr(phantoms, "SPACING_MM", 8.0)
    images, labels = zip(*(phantoms.make_patient(tmp_path, number) for number in (0, 1)), strict=True)
    first, second = (read(path) for path in labels)
    assert {1, 2, 3, 4, 5} <= set(np.unique(first).tolist())
    assert (first > 0).sum() * 0.7 > ((first == second) & (first > 0)).sum()
    written = [path.stat().st_mtime_ns for path in (images[0], labels[0])]
    phantoms.make_patient(tmp_path, 0)
    assert [path.stat().st_mtime_ns for path in (images[0], labels[0])] == written
    again = phantoms.make_patient(tmp_path / "again", 0)
    assert (read(again[0]) == read(images[0])).all()
