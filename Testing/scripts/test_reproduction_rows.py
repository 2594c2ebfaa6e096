"""What a row of the papers' tables is trained with: a shipped recipe, and equal steps for all rows of a table."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from PartialOrganSegLib.annotation import Kind
from PartialOrganSegLib.evaluation.published import PUBLISHED, ZHOU
from PartialOrganSegLib.training.recipe import load_recipe
from Testing.helpers.repository import SCRIPTS

sys.path.insert(0, str(SCRIPTS))
from reproduction.budgets import FULL, SMALL, row_recipe
from reproduction.runs import LATER_SETTINGS, VERSION, Run
from reproduction.tables import TABLES

ORGANS = ("liver", "spleen", "left_kidney")
EVERY_ROW = [(table, row) for table in TABLES.values() for row in table.rows]
NAMES = [f"{table.key}-{row.key}" for table, row in EVERY_ROW]


@pytest.mark.parametrize(("table", "row"), EVERY_ROW, ids=NAMES)
def test_every_row_has_the_shipped_network_with_the_full_budget(table, row, tmp_path):
    recipe = row_recipe(table, row, FULL, tmp_path / "manifest.yaml", 0)
    shipped = load_recipe(row.recipe)
    assert recipe.preprocessing == shipped.preprocessing
    assert recipe.batch_size == shipped.batch_size
    assert recipe.augmentation == shipped.augmentation


def test_rows_are_trained_in_bfloat16_where_that_is_asked_for(tmp_path):
    table, row = EVERY_ROW[0]
    recipe = row_recipe(table, row, replace(SMALL, half_precision=True), tmp_path / "manifest.yaml", 0)
    assert recipe.half_precision is True


@pytest.mark.parametrize(("table", "row"), EVERY_ROW, ids=NAMES)
def test_every_row_is_a_shipped_recipe_with_equal_steps(table, row, tmp_path):
    recipe = row_recipe(table, row, replace(SMALL, steps=97), tmp_path / "manifest.yaml", 3)
    assert sum(stage.steps for stage in recipe.resolved_stages()) == 97 // (row.folds or 1)
    assert recipe.seed == 3
    assert recipe.half_precision is False
    assert recipe.manifest == tmp_path / "manifest.yaml"
    assert {stage.optimiser.name for stage in recipe.resolved_stages()} == {"adamw"}
    assert set(row.organs) <= set(table.organs)
    # Rows of one table are compared with each other: none may have trained for longer.
    first = row_recipe(table, table.rows[0], FULL, tmp_path / "manifest.yaml", 0)
    full = row_recipe(table, row, FULL, tmp_path / "manifest.yaml", 0)
    steps = sum(s.steps for s in first.resolved_stages())
    assert sum(s.steps for s in full.resolved_stages()) == steps // (row.folds or 1)


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
    flat = [row for row in TABLES["pann_2d"].rows if row.published.dice is not None]
    deep = [row for row in TABLES["pann"].rows if row.published.dice is not None]
    assert (len(flat), len(deep)) == (26, 4)
    assert [row.published.dice for row in deep] == [.7066, .7193, .7163, .7208]
    for row in flat:
        recipe = row_recipe(TABLES["pann_2d"], row, FULL, Path("m.yaml"), 0)
        depth = row.key.split("_")[0].removeprefix("r")
        assert recipe.network.name == f"deeplabv3plus_resnet{depth}"
    # The table of published figures and the table of runs are typed in separately; here they check each other.
    theirs = {row.method: row.dice for row in PUBLISHED if row.source == ZHOU and "5 folds" in row.task}
    names = {"r50": "ResNet-50", "r101": "ResNet-101"}
    for row in flat:
        backbone, method, *sets = row.key.split("_")
        title = {"full": "full", "pann": "PaNN"}.get(method, method)
        assert theirs[f"{' '.join([title, *(part.upper() for part in sets)])}, {names[backbone]}"] == row.published.dice


def test_settings_that_came_later_move_no_finished_run(tmp_path):
    """A row without them keeps its folder; one that has them gets another."""
    table = TABLES["word"]
    recipe = row_recipe(table, table.rows[0], SMALL, tmp_path / "m.yaml", 0)

    def folder(one) -> str:
        return Run.in_folder(tmp_path, "pce", 0, one, ORGANS, ORGANS, []).folder.name

    elsewhere = {"partial_only", "test_scales", "backbone_weights", "class_rate", "new_class_patches", "beside",
                 "background", "least_confidence"}
    assert LATER_SETTINGS.keys() - elsewhere <= recipe.model_dump()["augmentation"].keys()
    # The digest as the version without these settings wrote it, by hand.
    before = recipe.model_dump(mode="json", exclude={"manifest", "checkpoint_every", "workers"})
    del before["partial_only"], before["network"]["backbone_weights"], before["new_class_patches"]
    del before["optimiser"]["class_rate"], before["beside"], before["sampling"]["background"]
    for name in LATER_SETTINGS:
        before["augmentation"].pop(name, None)
    essence = [VERSION, before, recipe.manifest.name, list(ORGANS), []]
    digest = hashlib.sha256(json.dumps(essence).encode()).hexdigest()[:8]
    assert folder(recipe) == f"pce-seed0-{digest}"
    assert folder(recipe.changed(partial_only=["marginal_cross_entropy"])) != folder(recipe)
    assert folder(recipe.changed(augmentation={"noise": 0.0})) != folder(recipe)
