"""The papers' tables in small, end to end: rows are trained, scored and reported."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import yaml
from PIL import Image

from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.segmenting.backend import computes_bfloat16
from Testing.helpers.repository import SCRIPTS

sys.path.insert(0, str(SCRIPTS))
import reproduce
from reproduction.budgets import SMALL, row_recipe
from reproduction.runs import Run
from reproduction.tables import TABLES

ORGANS = ("liver", "spleen", "left_kidney")


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
        assert figures["processor_seconds"] > 0
        for kind in ("dice", "hd95", "hausdorff"):
            assert all(set(organs) == set(ORGANS) for organs in figures[kind].values())
        assert 0 <= figures["mean"] <= 1
    text = (tmp_path / "out" / "word.md").read_text(encoding="utf-8")
    assert "| pCE | scribble_pce | scribbles |" in text
    assert "--table word" in text
    # A report is published: it names no folder of who ran it.
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
    in_words = "bfloat16" if computes_bfloat16() else "float32"  # the recipe asks for bfloat16
    assert "the recipes as shipped" in report["budget"]
    assert report["budget"].endswith(f"trained in {in_words}")


def test_bfloat16_is_refused_by_processors_without_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(reproduce, "computes_bfloat16", lambda: False)
    assert reproduce.main(["--table", "word", "--half-precision", "--device", "cpu", "--work", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: --half-precision: expected a processor with bfloat16, found one without, which trains in float32"]
    assert not list(tmp_path.iterdir())


def test_folds_share_a_rows_steps_and_their_ensemble_is_measured(blocks, tmp_path):
    table = TABLES["word"]
    row = replace(next(row for row in table.rows if row.key == "dense"), folds=3)
    recipe = row_recipe(table, row, replace(SMALL, steps=7), blocks, 0)
    run = Run.in_folder(tmp_path / "läufe", row.key, 0, recipe, ORGANS, ORGANS, (), row.folds)
    result = run.carry_out("cpu", Reporter())
    assert (result.steps, [step for step, _ in result.curve]) == (2, [])  # two are too few for a line of the log
    assert len(list(run.folder.glob("fold_*/model"))) == 3
    assert len(load_bundle(run.folder / "model").folds) == 3
    assert run.result() == result
    # With one network it is another run.
    assert Run.in_folder(tmp_path / "läufe", row.key, 0, recipe, ORGANS, ORGANS, ()).folder != run.folder


def test_rows_that_the_data_has_no_organs_for_are_told(blocks, tmp_path, capsys):
    assert reproduce.main(["--table", "own_parts", "--data", str(blocks), "--rows", "own", "--organs",
                           ",".join(ORGANS), "--work", str(tmp_path / "work"), "--device", "cpu"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: own_parts: expected organs that all data sets of a row annotate, found none for own")
