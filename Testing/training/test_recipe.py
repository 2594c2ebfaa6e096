"""The recipe: settings, overrides and one clear line for everything wrong."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.training.recipe import Recipe, load_recipe
from PartialOrganSegLib.training.settings import PreprocessingSettings
from Testing.helpers.repository import ROOT
from Testing.helpers.training_data import write_yaml


def recipe(folder: Path, *overrides: str, **content: object) -> Recipe:
    return load_recipe(write_yaml(folder / "r.yaml", {"manifest": "data/m.yaml"} | content), overrides)


def test_defaults_and_nested_settings(tmp_path: Path):
    loaded = recipe(tmp_path, optimiser={"learning_rate": 0.5}, preprocessing={"spacing_zyx": [5, 1.5, 1.5]})
    assert loaded.optimiser.learning_rate == 0.5
    assert loaded.optimiser.ema == Recipe(manifest="m").optimiser.ema
    assert loaded.preprocessing.spacing_zyx == (5.0, 1.5, 1.5)


def test_overrides_are_yaml(tmp_path: Path):
    # Numbers, lists and null as YAML reads them; a learning rate without a point, which YAML 1.1 takes for text.
    loaded = recipe(tmp_path, "steps=7", "optimiser.learning_rate=1e-4", "hold_out=[a, 'b c']", "seed=3",
                   "network.arguments.channels=[8, 8]", "augmentation.strength=0", "start_from=null", steps=1)
    assert (loaded.steps, loaded.seed, loaded.hold_out) == (7, 3, ["a", "b c"])
    assert loaded.optimiser.learning_rate == 1e-4
    assert loaded.network.arguments == {"channels": [8, 8]}
    assert loaded.augmentation.strength == 0
    assert loaded.start_from is None


def test_a_stage_changes_what_it_names(tmp_path: Path):
    """Groups of the optimiser, the schedule and the sampling are changed key by key, losses as a whole."""
    stages = recipe(tmp_path, "stages.1.steps=9", "stages.1.optimiser.ema=0.25", steps=5, seed=3,
                   optimiser={"learning_rate": 0.5, "name": "sgd"}, losses={"marginal_dice": 1.0},
                   stages=[{}, {"use": ["full", "partial"], "losses": {"entropy": 2.0}}]).resolved_stages()
    assert [stage.steps for stage in stages] == [5, 9]
    assert [stage.losses for stage in stages] == [{"marginal_dice": 1.0}, {"entropy": 2.0}]
    assert [(stage.optimiser.name, stage.optimiser.learning_rate) for stage in stages] == [("sgd", 0.5)] * 2
    assert [stage.optimiser.ema for stage in stages] == [0.99, 0.25]
    assert stages[0].use is None
    assert [kind.value for kind in stages[1].use] == ["full", "partial"]
    assert [stage.steps for stage in recipe(tmp_path, steps=5).resolved_stages()] == [5]
    with pytest.raises(UserError, match=r"--set stages\.7\.steps=9: expected a number from 0 to 0, found '7'"):
        recipe(tmp_path, "stages.7.steps=9", stages=[{}])


def test_paths_of_overrides_are_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    # Somebody types it in a terminal, whose folder counts; in a file the file's folder does.
    assert recipe(tmp_path / "recipes", "manifest=data/m.yaml").manifest == tmp_path.resolve() / "data" / "m.yaml"


def test_paths_are_relative_to_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "mit Blank ä"
    loaded = recipe(folder, start_from="../model")
    assert loaded.manifest == folder.resolve() / "data" / "m.yaml"
    assert loaded.start_from == tmp_path.resolve() / "model"
    monkeypatch.chdir(tmp_path)
    assert load_recipe(Path(folder.name) / "r.yaml").manifest == loaded.manifest
    assert recipe(folder, manifest="/data/m.yaml").manifest == Path("/data/m.yaml").resolve()


@pytest.mark.parametrize(("content", "message"), [
    ({"stepz": 3}, r"stepz: unknown setting \(did you mean 'steps'\?\); known: steps, "),
    ({"optimiser": {"learning_rat": 1}}, r"optimiser\.learning_rat: unknown setting .*'learning_rate'\?"),
    ({"bundle": {"nam": "x"}}, r"bundle\.nam: unknown setting \(did you mean 'name'\?\)"),
    ({"qqqq": 1}, r"qqqq: unknown setting; known"),
    ({"steps": "many"}, r"steps: .*found 'many'"),
    ({"steps": 0}, r"steps: .*found 0"),
    ({"seed": -1}, r"seed: .*found -1"),
    ({"batch_size": 0}, "batch_size: "),
    ({"optimiser": {"learning_rate": 0}}, r"optimiser\.learning_rate: "),
    ({"optimiser": {"ema": 1}}, r"optimiser\.ema: "),
    ({"optimiser": 3}, r"optimiser: .*found 3"),
    ({"preprocessing": {"spacing_zyx": [1, 2]}}, r"preprocessing\.spacing_zyx"),
    ({"preprocessing": {"spacing_zyx": [1, 0, 2]}}, r"preprocessing\.spacing_zyx\.1: "),
    ({"preprocessing": {"spacing_zyx": [1, float("nan"), 2]}}, r"preprocessing\.spacing_zyx\.1: "),
    ({"preprocessing": {"patch_zyx": [8, 16, -16]}}, r"preprocessing\.patch_zyx\.2: "),
    ({"preprocessing": {"clip_hu": [500, -300]}},
     r"preprocessing\.clip_hu: expected low < high, found \(500\.0, -300\.0\)"),
    ({"preprocessing": {"divide": 0}}, r"preprocessing\.divide: "),
    ({"losses": {"marginal_dice": "much"}}, r"losses\.marginal_dice: "),
    ({"augmentation": {"strength": 3}}, r"augmentation\.strength: "),
    ({"manifest": None}, "manifest: "),
    ({"optimiser": {"name": "adan"}}, r"optimiser\.name: expected one of ada.*found 'adan' \(did you mean 'adam'\?\)"),
    ({"schedule": {"name": "plato"}}, r"schedule\.name: expected one of poly, .*found 'plato'"),
    ({"use": ["ful"]}, r"use\.0: expected 'full', .*found 'ful' \(did you mean 'full'\?\)"),
    ({"train_parameters": "("}, r"train_parameters: expected a regular expression, found '\('"),
    ({"validation": {"shar": 0.2}}, r"validation\.shar: unknown setting \(did you mean 'share'\?\)"),
    ({"stages": [{}, {"stepz": 3}]}, r"stages\.1\.stepz: unknown setting \(did you mean 'steps'\?\); known: steps, "),
    ({"stages": [{"pseudo_labels": {"evry": 3}}]}, r"stages\.0\.pseudo_labels\.evry: .*did you mean 'every'"),
    ({"stages": [{"optimiser": {"learning_rate": -1}}]}, r"stages\.0\.optimiser\.learning_rate: .*found -1"),
    ({"stages": [3]}, r"stages\.0: .*found 3"),
    ({"stages": {"a": 3}}, "stages: "),
    ({"bundle": {"name": "my model"}}, r"bundle\.name: "),
    ({"bundle": {"licences": {"code": "MIT"}}}, r"bundle\.licences: expected the keys code, weights, data, found code"),
])
def test_a_wrong_setting_is_refused_in_one_line(tmp_path: Path, content, message):
    with pytest.raises(UserError, match=rf"r\.yaml: {message}") as error:
        recipe(tmp_path, **content)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("override", "message"), [
    ("steps", "--set steps: expected KEY=VALUE"),
    ("steps.more=3", "--set steps.more=3: 'steps' is not a group of settings"),
    ("steps=[3", r"--set steps=\[3: expected YAML"),
    ("stepz=3", r"stepz: unknown setting \(did you mean 'steps'\?\)"),
    ("optimizer.ema=0.5", r"optimizer: unknown setting \(did you mean 'optimiser'\?\)"),
    ("optimiser.emma=0.5", r"optimiser\.emma: unknown setting \(did you mean 'ema'\?\)"),
    ("steps=no way", "steps: "),
])
def test_a_wrong_override_is_refused_in_one_line(tmp_path: Path, override, message):
    with pytest.raises(UserError, match=message) as error:
        recipe(tmp_path, override, steps=5)
    assert "\n" not in str(error.value)


def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path):
    path = tmp_path / "r.yaml"
    with pytest.raises(UserError, match=r"r\.yaml: recipe expected, none found"):
        load_recipe(path)
    with pytest.raises(UserError, match="expected a recipe file"):
        load_recipe(tmp_path)
    for content, message in ((b"steps: [", "expected YAML"), (b"\xff\xfe\x00x", "a recipe in YAML"),
                          (b"", "expected settings"), (b"- a\n", "found a list"), (b"steps: 3\n", "manifest: ")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=message) as error:
            load_recipe(path)
        assert "\n" not in str(error.value)


def test_the_shipped_recipes_are_valid_and_use_no_former_name():
    for path in (ROOT / "PartialOrganSegLib" / "resources" / "recipes").glob("*.yaml"):
        with warnings.catch_warnings():
            # A former name is read with a warning: users may have it, what we ship may not.
            warnings.simplefilter("error", FutureWarning)
            assert load_recipe(path).manifest.is_absolute()


def test_a_changed_copy_is_validated_and_leaves_the_recipe(tmp_path: Path):
    before = recipe(tmp_path, optimiser={"learning_rate": 0.5}, losses={"marginal_dice": 1.0}, validation={"every": 7})
    after = before.changed(steps=3, optimiser={"ema": 0.5}, losses={"entropy": 1.0}, validation={"patience": 2},
                           preprocessing={"clip_hu": (-200, 300)})
    assert (after.steps, after.optimiser.learning_rate, after.optimiser.ema) == (3, 0.5, 0.5)
    assert after.losses == {"entropy": 1.0}
    assert (after.validation.every, after.validation.patience) == (7, 2)
    assert after.preprocessing == PreprocessingSettings(clip_hu=(-200, 300))
    assert after.manifest == before.manifest
    assert before == recipe(tmp_path, optimiser={"learning_rate": 0.5}, losses={"marginal_dice": 1.0},
                            validation={"every": 7})
    with pytest.raises(UserError, match=r"optimiser\.emma: unknown setting \(did you mean 'ema'"):
        before.changed(optimiser={"emma": 0.5})
    with pytest.raises(UserError, match=r"batch_size: .*found 0"):
        before.changed(batch_size=0)


def test_settings_of_stages_are_changed_in_the_stages(tmp_path: Path):
    staged = recipe(tmp_path, steps=5, stages=[{}, {"losses": {"entropy": 2.0}}])
    assert [stage.steps for stage in staged.changed(seed=3).resolved_stages()] == [5, 5]
    assert [stage.steps for stage in staged.changed(stages=[{"steps": 2}, {}]).resolved_stages()] == [2, 5]
    with pytest.raises(UserError, match="steps: expected a change of stages, each of which has its own"):
        staged.changed(steps=3)


@pytest.mark.parametrize(("hooks", "line"), [
    ({"nothing:Hook": {}}, r"hooks: nothing:Hook: expected a module that can be imported"),
    ({"pathlib:Path": {}}, r"hooks: expected a class derived from .*hooks\.Hook, found pathlib:Path"),
    ({"PartialOrganSegLib.training.hooks:Hook": {"a": 1}}, r"hooks: .*unknown argument 'a'")])
def test_wrong_hooks_are_one_line(tmp_path: Path, hooks: dict, line: str):
    with pytest.raises(UserError, match=rf"r\.yaml: {line}"):
        recipe(tmp_path, hooks=hooks)
