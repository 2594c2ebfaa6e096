"""Names that scripts of earlier versions use still work, with a warning that says today's."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path

import pytest

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.models.folders import find_folder
from PartialOrganSegLib.models.label_map import read_label_map
from PartialOrganSegLib.resources import resource
from PartialOrganSegLib.training.recipe import find_recipe


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
    own = tmp_path / "Resources" / "recipes" / "full.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("manifest: m.yaml\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_recipe(own) == own


def test_what_never_shipped_is_not_found():
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
    former = importlib.import_module(f"PartialOrganSegLib.inference.{module}")
    today = importlib.import_module(f"PartialOrganSegLib.segmenting.{module}")
    assert getattr(former, name) is getattr(today, name)
