"""What `partialorganseg train` and `check` hand to the library, and how they end."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from Testing.helpers.training_data import write_image, write_yaml


@pytest.fixture
def training(monkeypatch):
    """Records the calls that the library would get."""
    calls = []

    def load_recipe(path, overrides):
        if overrides == ["stepz=3"]:
            raise UserError("recipe.yaml: stepz: expected a known setting (did you mean 'steps'?)")
        return SimpleNamespace(given=(path, tuple(overrides)), manifest=Path("mine.yaml"), stages=[])

    recipe = SimpleNamespace(load_recipe=load_recipe, RECIPE_FILE="recipe.yaml")
    trainer = SimpleNamespace(train=lambda *settings: calls.append((settings[0].given, *settings[1:4])))
    monkeypatch.setitem(sys.modules, "PartialOrganSegLib.training.recipe", recipe)
    monkeypatch.setitem(sys.modules, "PartialOrganSegLib.training.trainer", trainer)
    return SimpleNamespace(calls=calls, trainer=trainer)


def test_settings_reach_the_trainer(training):
    assert main(["train", "my.yaml", "-o", "run", "--resume", "--set", "steps=3", "--set", "lr=0.1",
                 "--device", "cpu"]) == 0
    assert main(["train", "recipes/my.yaml"]) == 0
    assert training.calls == [((Path("my.yaml"), ("steps=3", "lr=0.1")), Path("run"), True, "cpu"),
                              ((Path("recipes/my.yaml"), ()), Path("runs/my"), False, "auto")]


def test_wrong_setting_is_one_line(training, capsys):
    assert main(["train", "my.yaml", "--set", "stepz=3"]) == 1
    assert "did you mean 'steps'?" in capsys.readouterr().err
    assert training.calls == []


def test_a_recipe_is_not_written_over(training, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("steps: 3  # few")
    assert main(["train", str(recipe), "-o", str(tmp_path)]) == 1
    assert "expected a run folder apart from the recipe" in capsys.readouterr().err
    # To resume, the run folder's own recipe may be named.
    assert main(["train", str(recipe), "-o", str(tmp_path), "--resume"]) == 0
    assert main(["train", str(recipe), "-o", str(tmp_path / "run")]) == 0
    assert len(training.calls) == 2


def test_cancelled_training_ends_with_130(training, capsys):
    def cancelled(*_):
        raise KeyboardInterrupt

    training.trainer.train = cancelled
    assert main(["train", "my.yaml"]) == 130
    assert capsys.readouterr().err == "error: cancelled\n"


@pytest.mark.parametrize(("problems", "code", "line"), [
    ([], 0, "m.yaml: ok"), (["a: b"], 1, "m.yaml: 1 problem\n"), (["a: b", "c: d"], 1, "2 problems")])
def test_check_prints_each_problem(problems, code, line, monkeypatch, capsys):
    manifest = SimpleNamespace(load_manifest=lambda path, reporter: SimpleNamespace(cases=[]),
                               check_manifest=lambda manifest, reporter, doubt_images: problems)
    monkeypatch.setitem(sys.modules, "PartialOrganSegLib.datasets.manifest", manifest)
    assert main(["check", "m.yaml"]) == code
    captured = capsys.readouterr()
    assert line in captured.out
    assert captured.err.splitlines() == [f"error: {problem}" for problem in problems]


def test_a_shipped_recipe_asks_for_the_manifest_of_ones_own(tmp_path, capsys):
    assert main(["train", "full", "-o", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err == ("error: manifest: expected the manifest of your cases, found none; "
                                       "--set manifest=FILE names it\n")
    assert not (tmp_path / "run").exists()


def test_steps_beside_stages_are_warned_of(tmp_path, capsys):
    # There is no such manifest, so that nothing is trained.
    assert main(["train", "partialorganseg", "-o", str(tmp_path / "run"), "--set", "steps=2", "--set",
                 f"manifest={tmp_path / 'none.yaml'}"]) == 1
    assert "warning: steps: the recipe's stages have steps of their own; --set stages=[] trains in one stage" in \
        capsys.readouterr().err


def test_check_tells_of_an_image_that_is_no_ct(tmp_path, capsys):
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:5] = 1
    write_image(tmp_path / "liver.nii.gz", labels)
    cases = [{"name": "a", "image": "liver.nii.gz", "label": "liver.nii.gz"}]
    manifest = write_yaml(tmp_path / "manifest.yaml", {"label_space": ["liver"], "datasets": [
        {"name": "set", "kind": "partial", "annotated": ["liver"], "cases": cases}]})
    assert main(["check", str(manifest)]) == 0
    captured = capsys.readouterr()
    assert "warning: a: " in captured.err
    assert "liver.nii.gz: expected a CT in HU, found values from 0 to 1" in captured.err
    assert captured.out.splitlines()[-1].endswith("manifest.yaml: ok")
