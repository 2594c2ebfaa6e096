"""Names that scripts of earlier versions use still work, with a warning that says today's."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path

import pytest
import yaml

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.models.folders import find_folder
from PartialOrganSegLib.models.label_map import read_label_map
from PartialOrganSegLib.resources import resource
from PartialOrganSegLib.training.recipe import Recipe, find_recipe, load_recipe
from PartialOrganSegLib.training.resuming import check_same, deciding_settings


@pytest.mark.parametrize(("former", "find", "today", "name"), [
    ("Resources/recipes/full.yaml", find_recipe, resource("recipes", "full.yaml"), "write full"),
    ("checkout/Resources/models/embedded", find_folder, resource("models", "embedded"), "write embedded")])
def test_former_paths_of_what_ships_are_found(former, find, today, name):
    with pytest.warns(FutureWarning, match=name):
        assert find(former) == today


def test_a_former_path_of_a_label_map_is_found():
    with pytest.warns(FutureWarning, match=r"write total_to_word\.yaml"):
        assert read_label_map("Resources/label_maps/total_to_word.yaml") == read_label_map("total_to_word.yaml")


def test_a_users_own_file_of_that_path_comes_first(tmp_path):
    users_recipe = tmp_path / "Resources" / "recipes" / "full.yaml"
    users_recipe.parent.mkdir(parents=True)
    users_recipe.write_text("manifest: m.yaml\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_recipe(users_recipe) == users_recipe


def test_a_file_that_never_shipped_is_not_found():
    with pytest.raises(UserError, match=r"nothing\.yaml"):
        read_label_map("Resources/label_maps/nothing.yaml")
    assert find_recipe("Resources/recipes/nothing.yaml") == Path("Resources/recipes/nothing.yaml")


def test_the_command_warns_in_one_line_and_as_data(capfd):
    assert main(["models", "verify", "Resources/models/embedded"]) == 0
    assert "warning: Resources/models/embedded: expected" in capfd.readouterr().err
    assert main(["models", "verify", "Resources/models/embedded", "--json-events"]) == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    assert [event["code"] for event in events if event["event"] == "warning"] == ["former-name"]


@pytest.mark.parametrize(("module", "name"), [("engine", "Engine"), ("predictor", "Predictor")])
def test_bundles_of_0_3_0_name_modules_that_are_still_there(module, name):
    # MONAI's runner looks the class up by the path in the bundle's own configuration.
    former = importlib.import_module(f"PartialOrganSegLib.inference.{module}")
    today = importlib.import_module(f"PartialOrganSegLib.segmenting.{module}")
    assert getattr(former, name) is getattr(today, name)


FLAT = {"spacing_zyx": [4, 3, 3], "patch_zyx": [8, 16, 16], "clip_hu": [-200, 300], "subtract": 50, "divide": 100}


def test_settings_of_a_recipe_by_their_former_names(tmp_path: Path):
    """Preprocessing was no group up to 0.4, and the weight-space ensemble was told by the start model's part."""
    path = tmp_path / "r.yaml"
    former = {"manifest": "m.yaml", **FLAT, "start_share": 0.25, "validation": {"start_shares": [0.0, 0.4]}}
    path.write_text(yaml.safe_dump(former), encoding="utf-8")
    with pytest.warns(FutureWarning, match=r"expected preprocessing\.spacing_zyx, .*alpha \(1 - start_share\), .*found "
                                           r"its former names spacing_zyx, patch_zyx, .*validation\.start_shares"):
        recipe = load_recipe(path)
    assert recipe.preprocessing.model_dump(mode="json") == FLAT
    assert (recipe.alpha, recipe.validation.alphas) == (0.75, [1.0, 0.6])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Recipe.model_validate(recipe.model_dump()) == recipe  # what a run folder has is of today


def test_overrides_by_former_names_change_what_has_todays(tmp_path: Path):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({"manifest": "m.yaml", "preprocessing": {"divide": 9}, "alpha": 0.5}), "utf-8")
    with pytest.warns(FutureWarning, match="expected alpha"), pytest.warns(FutureWarning, match="patch_zyx"):
        recipe = load_recipe(path, ["patch_zyx=[8, 16, 16]", "start_share=0.2", "preprocessing.subtract=1"])
    assert recipe.preprocessing.patch_zyx == (8, 16, 16)
    assert (recipe.preprocessing.subtract, recipe.preprocessing.divide, recipe.alpha) == (1, 9, 0.8)


def test_a_setting_under_both_names_is_refused(tmp_path: Path):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({"manifest": "m.yaml", "divide": 3, "preprocessing": {"divide": 9}}), "utf-8")
    with pytest.raises(UserError, match=r"r\.yaml: divide: expected preprocessing\.divide alone, found both"):
        load_recipe(path)


def test_a_checkpoint_of_an_earlier_version_has_the_same_settings():
    today = {"manifest": "m.yaml", "preprocessing": FLAT, "alpha": 0.75}
    current = deciding_settings(Recipe.model_validate(today))
    before = {key: value for key, value in current.items() if key not in ("preprocessing", "alpha")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # The run goes on: what decides its numbers is the same under both names.
        check_same({**before, **FLAT, "start_share": 0.25}, current)
    with pytest.raises(UserError, match=r"alpha was 0\.8 and is now 0\.75"):
        check_same({**before, **FLAT, "start_share": 0.2}, current)
