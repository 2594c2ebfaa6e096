"""The papers' tables in small: what a row sees, what it is trained with, and how it is reported."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from PIL import Image

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.evaluation.published import PUBLISHED, ZHOU
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.training.recipe import load_recipe
from Testing.helpers.repository import SCRIPTS
from Testing.helpers.training_data import write_manifest as write_blocks
from Testing.helpers.training_data import write_yaml

sys.path.insert(0, str(SCRIPTS))
import reproduce
from reproduction import anatomies, phantoms
from reproduction.budgets import FULL, SMALL, row_recipe
from reproduction.comparison import HOLDS, NOT_DECIDED, OPPOSITE, judge_claims
from reproduction.processes import run_commands
from reproduction.references import Reference, manifest_references
from reproduction.results import Result, learning_curve, organ_figures
from reproduction.runs import LATER_SETTINGS, VERSION, Run
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
    command = ["--table", "word", "--data", str(blocks), "--rows", "pce,dense", "--steps", "10", "--seeds", "1",
               "--jobs", "2",
               "--organs", ",".join(ORGANS), "--work", str(tmp_path / "work"), "-o", str(tmp_path / "out"),
               "--device", "cpu"]
    assert reproduce.main(command) == 0
    report = json.loads((tmp_path / "out" / "word.json").read_text(encoding="utf-8"))
    assert [(row["row"], row["published"]) for row in report["rows"]] == [("pce", 0.7206), ("dense", 0.8667)]
    assert report["claims"] == []  # none is about these two
    for row in report["rows"]:
        figures = row["seeds"]["0"]
        assert figures["steps"] == 10
        assert [step for step, _ in figures["curve"]] == [10]
        assert figures["step_seconds"] > 0
        for kind in ("dice", "hd95", "hausdorff"):
            assert all(set(organs) == set(ORGANS) for organs in figures[kind].values())
        assert 0 <= figures["mean"] <= 1
    text = (tmp_path / "out" / "word.md").read_text(encoding="utf-8")
    assert "| pCE | scribble_pce | scribbles |" in text
    assert "--table word" in text
    assert str(tmp_path) not in text
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


def test_the_full_budget_starts_and_takes_a_step(blocks, tmp_path, capsys):
    """A recipe as shipped, network, patch and batch and all; of the rest there is a command for a GPU."""
    command = ["--table", "pann_2d", "--budget", "full", "--data", str(blocks), "--rows", "r50_full", "--steps", "1",
               "--seeds", "1", "--organs", ",".join(ORGANS), "--work", str(tmp_path / "work"), "-o",
               str(tmp_path / "out"), "--device", "cpu"]
    assert reproduce.main(command) == 0
    report = json.loads((tmp_path / "out" / "pann_2d.json").read_text(encoding="utf-8"))
    (row,) = report["rows"]
    assert (row["row"], row["seeds"]["0"]["steps"]) == ("r50_full", 1)
    recipe = yaml.safe_load(next((tmp_path / "work" / "runs").rglob("recipe.yaml")).read_text(encoding="utf-8"))
    assert recipe["network"] == {"name": "deeplabv3plus_resnet50", "arguments": {}, "backbone_weights": None}
    assert recipe["preprocessing"]["patch_zyx"] == [1, 448, 448]
    assert (recipe["batch_size"], recipe["augmentation"]["rotation"]) == (4, [15.0, 0.0, 0.0])
    assert "the recipes as shipped" in report["budget"]


@pytest.mark.parametrize(("table", "row"), EVERY_ROW, ids=NAMES)
def test_every_row_has_the_shipped_network_with_the_full_budget(table, row, tmp_path):
    recipe = row_recipe(table, row, FULL, tmp_path / "manifest.yaml", 0)
    shipped = load_recipe(row.recipe)
    assert recipe.preprocessing == shipped.preprocessing
    assert recipe.batch_size == shipped.batch_size
    assert recipe.augmentation == shipped.augmentation


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


def test_a_small_budget_keeps_the_essentials_of_the_method(tmp_path):
    def stages(key, row):
        table = TABLES[key]
        row = next(listed for listed in table.rows if listed.key == row)
        return row_recipe(table, row, SMALL, tmp_path / "m.yaml", 0).resolved_stages()

    def steps_of(key):
        table = TABLES[key]
        recipe = row_recipe(table, table.rows[0], SMALL, tmp_path / "m.yaml", 0)
        return sum(stage.steps for stage in recipe.resolved_stages())

    assert [steps_of(key) for key in ("marginal", "word")] == [2000, 1500]
    full, union = stages("pann", "pann_abc")
    assert full.use == [Kind.FULL]
    assert union.losses == {"marginal_cross_entropy": 1.0, "prior_primal_dual": 0.1}
    assert union.sampling.full_share == 0.75
    assert (full.steps, union.steps) == (889, 1111)  # 80 and 100 thousand of 180
    assert union.pseudo_labels.every == 111  # ten times a stage, as there
    assert stages("pann", "semi_abc")[1].treat_as_unlabelled == [Kind.PARTIAL, Kind.SCRIBBLE]
    assert stages("marginal", "exclusion")[1].losses["exclusion_dice"] == 2.0
    assert stages("word", "em_ivm")[0].losses == {"marginal_cross_entropy": 1.0, "entropy": 0.1, "intensity": 0.1}
    assert [stage.phase for stage in stages("pipo", "scales_3_1")] == ["deep_supervision"]


def test_every_row_of_zhous_table_1_is_there():
    """13 rows of each 2D backbone and four of the 3D U-Net; up to 0.4 the 3D rows stood beside ResNet-50's figures."""
    flat = [row for row in TABLES["pann_2d"].rows if row.published is not None]
    deep = [row for row in TABLES["pann"].rows if row.published is not None]
    assert (len(flat), len(deep)) == (26, 4)
    assert [row.published for row in deep] == [.7066, .7193, .7163, .7208]
    for row in flat:
        recipe = row_recipe(TABLES["pann_2d"], row, FULL, Path("m.yaml"), 0)
        depth = row.key.split("_")[0].removeprefix("r")
        assert recipe.network.name == f"deeplabv3plus_resnet{depth}"
    theirs = {row.method: row.dice for row in PUBLISHED if row.source == ZHOU and "5 folds" in row.task}
    names = {"r50": "ResNet-50", "r101": "ResNet-101"}
    for row in flat:
        backbone, method, *sets = row.key.split("_")
        title = {"full": "full", "pann": "PaNN"}.get(method, method)
        assert theirs[f"{' '.join([title, *(part.upper() for part in sets)])}, {names[backbone]}"] == row.published


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
    for drawn, full in zip(scribbles, dense, strict=True):
        strokes, labels = read(drawn.label), read(full.label)
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
    names = [case.name for case in manifest_references(tmp_path, manifest, ("liver", "left_kidney"), Reporter())]
    assert names == ["case0_image", "case2_image"]
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
        patients = [{case.patient for case in group} for group in groups]
        assert sum(map(len, patients)) == 12
    assert len(deal.test) == 6
    thirty = situation(references(30), TABLES["marginal"].organs, TABLES["marginal"].datasets, 0)
    assert len(thirty.test) == 8


def results(*means: float) -> dict[int, Result]:
    """A result a seed; four test cases around its mean Dice."""
    runs = {}
    for seed, mean in enumerate(means):
        dice = {f"case{n}": {"liver": mean + 0.01 * (n - 1.5), "spleen": None} for n in range(4)}
        runs[seed] = Result(dice, 1.0)
    return runs


@pytest.mark.parametrize(("better", "worse", "verdict"), [
    ((0.80, 0.81, 0.82), (0.70, 0.72, 0.71), HOLDS), ((0.70, 0.72, 0.71), (0.80, 0.81, 0.82), OPPOSITE),
    ((0.70, 0.80, 0.72), (0.72, 0.70, 0.71), NOT_DECIDED), ((0.80, 0.85), (0.70, 0.72), NOT_DECIDED),
    ((0.90,), (0.10,), NOT_DECIDED)])  # one seed shows nothing, however far apart
def test_claims_are_decided_by_differences_that_could_be_detected(better, worse, verdict):
    table = replace(TABLES["pann"], claims=(Claim("pann_abc", "full"), Claim("own", "full")))
    (judged,) = judge_claims(table, {"pann_abc": results(*better), "full": results(*worse)})
    assert judged.verdict == verdict
    assert judged.over_seeds.mean == pytest.approx(np.mean(better) - np.mean(worse))
    assert judged.over_seeds.pairs == len(better)
    assert judged.over_cases.pairs == 4
    assert judged.over_cases.detectable == pytest.approx(0)  # all cases of a seed differ alike
    published = {row.key: row.published for row in table.rows}
    assert judged.published == pytest.approx(published["pann_abc"] - published["full"])


def test_a_difference_of_a_few_test_cases_is_not_decided():
    """Every seed agrees, but the whole difference comes from one of four cases."""
    better, worse = results(0.7, 0.701, 0.702), results(0.7, 0.701, 0.702)
    for run in better.values():
        run.dice["case0"]["liver"] += 0.2
    table = replace(TABLES["pann"], claims=(Claim("pann_abc", "full"),))
    (judged,) = judge_claims(table, {"pann_abc": better, "full": worse})
    assert judged.over_seeds.low > 0.04
    assert judged.verdict == NOT_DECIDED


def test_figures_of_an_organ():
    reference = np.zeros((10, 20, 20), bool)
    reference[3:7, 5:15, 5:15] = True
    predicted = np.roll(reference, 2, axis=2)
    dice, hd95, hausdorff = organ_figures(predicted, reference, (4.0, 2.0, 3.0))
    assert dice == pytest.approx(0.8)
    assert hausdorff == 6.0  # two voxels of 3 mm
    assert 0 < hd95 <= hausdorff
    assert organ_figures(predicted, np.zeros_like(reference), (1.0, 1.0, 1.0)) == (0.0, None, None)
    nothing = np.zeros_like(reference)
    assert organ_figures(nothing, nothing, (1.0, 1.0, 1.0)) == (None, None, None)
    run = Result({"a": {"liver": 0.0, "spleen": None}}, 1.0, {"a": {"liver": None, "spleen": None}})
    assert run.missed() == 1
    assert run.mean_distance(run.hd95) is None


def test_the_learning_curve_and_its_slope(tmp_path):
    lines = [{"step": step, "loss": 2 - step / 1000, "seconds": 0.5} for step in range(10, 1010, 10)]
    text = "".join(json.dumps(line) + "\n" for line in [*lines, {"step": 1000, "dice_liver": 0.5}])
    (tmp_path / "log.jsonl").write_text(text, encoding="utf-8")
    curve, seconds = learning_curve(tmp_path / "log.jsonl")
    assert seconds == 0.5
    assert len(curve) == 50
    assert curve[-1] == (1000, pytest.approx(1.005))
    assert Result({}, seconds, steps=1000, curve=curve).slope() == pytest.approx(-1.0)
    assert Result({}, seconds, steps=10, curve=[(10, 1.0)]).slope() is None


def test_settings_that_came_later_move_no_finished_run(tmp_path):
    """A row without them keeps its folder; one that has them gets another."""
    table = TABLES["word"]
    recipe = row_recipe(table, table.rows[0], SMALL, tmp_path / "m.yaml", 0)

    def folder(one) -> str:
        return Run.in_folder(tmp_path, "pce", 0, one, ORGANS, ORGANS, []).folder.name

    assert {name for name in LATER_SETTINGS if name not in ("partial_only", "test_scales", "backbone_weights")} \
        <= set(recipe.model_dump()["augmentation"])
    before = recipe.model_dump(mode="json", exclude={"manifest", "checkpoint_every", "workers"})
    del before["partial_only"], before["network"]["backbone_weights"]
    for name in LATER_SETTINGS:
        before["augmentation"].pop(name, None)
    essence = [VERSION, before, recipe.manifest.name, list(ORGANS), []]
    digest = hashlib.sha256(json.dumps(essence).encode()).hexdigest()[:8]
    assert folder(recipe) == f"pce-seed0-{digest}"
    assert folder(recipe.changed(partial_only=["marginal_cross_entropy"])) != folder(recipe)
    assert folder(recipe.changed(augmentation={"noise": 0.0})) != folder(recipe)


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


def test_commands_run_side_by_side_and_stop_together(tmp_path):
    codes = dict(run_commands([[sys.executable, "-c", f"raise SystemExit({code})"] for code in (0, 3, 0)], 2))
    assert codes == {0: 0, 1: 3, 2: 0}
    late = tmp_path / "late"
    slow = f"import time, pathlib; time.sleep(2); pathlib.Path({str(late)!r}).touch()"
    ending = run_commands([[sys.executable, "-c", ""], [sys.executable, "-c", slow]], 2)
    assert next(ending) == (0, 0)
    ending.close()
    time.sleep(2.5)
    assert not late.exists()


def test_each_phantom_is_another_patient(tmp_path, monkeypatch):
    monkeypatch.setattr(phantoms, "SHAPE_ZYX", (60, 36, 54))
    monkeypatch.setattr(phantoms, "SPACING_MM", 8.0)
    image, label = phantoms.make_patient(tmp_path, 0)
    first, second = read(label), read(phantoms.make_patient(tmp_path, 1)[1])
    assert {1, 2, 3, 4, 5} <= set(np.unique(first).tolist())
    assert (first > 0).sum() * 0.7 > ((first == second) & (first > 0)).sum()
    written = [path.stat().st_mtime_ns for path in (image, label)]
    phantoms.make_patient(tmp_path, 0)
    assert [path.stat().st_mtime_ns for path in (image, label)] == written
    again, _ = phantoms.make_patient(tmp_path / "again", 0)
    assert (read(again) == read(image)).all()
