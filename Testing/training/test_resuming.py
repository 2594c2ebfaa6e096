"""What a run that is gone on with may differ in: settings that did not exist when it began, at their defaults."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import yaml

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.training.cases import Cases, read_cases
from PartialOrganSegLib.training.recipe import Recipe
from PartialOrganSegLib.training.resuming import check_same, deciding_settings
from PartialOrganSegLib.training.validation import validation_groups
from Testing.helpers.training_data import SPACING_ZYX, write_case, write_manifest, write_recipe, write_yaml
from Testing.helpers.training_runs import AtStep, equal_weights, run, state_of, terminate

RECIPE = {"manifest": Path("m.yaml"), "validation": {"groups": ["case1"]},
          "stages": [{"name": "first", "steps": 3}, {"name": "second", "steps": 4, "sampling": {"anywhere": 0.4}}]}


def settings(**changes) -> dict:
    return {**deciding_settings(Recipe.model_validate({**RECIPE, **changes})), "batch": 2}


@pytest.fixture
def earlier() -> dict:
    """Of a version without some settings."""
    saved = copy.deepcopy(settings())
    del saved["air_is_background"], saved["sampling"]["foreground"], saved["validation"]["alphas"]
    return saved


def test_an_update_that_brought_settings_is_no_hindrance(earlier):
    check_same(earlier, settings())
    check_same(settings(), settings(workers=3, checkpoint_every=7))  # these decide nothing


@pytest.mark.parametrize(("key", "value"), [
    ("air_is_background", True), ("sampling", {"foreground": 1}), ("losses", {"marginal_cross_entropy": 1.0}),
    ("validation", {"groups": ["case1"], "alphas": [0.5]}), ("seed", 9),
    ("stages", [{"name": "first", "steps": 3}, {"name": "second", "steps": 4}])])
def test_a_changed_setting_is_told(earlier, key, value):
    with pytest.raises(UserError, match=f"--resume: {key} was "):
        check_same(earlier, settings(**{key: value}))


def test_a_loss_that_the_run_did_not_have_is_no_default(earlier):
    # A loss that is absent has the weight 0, which is not what the recipe now says.
    del earlier["losses"]["marginal_dice"]
    with pytest.raises(UserError, match="--resume: losses was"):
        check_same(earlier, settings())


def test_what_is_not_the_recipes_has_no_default(earlier):
    del earlier["batch"]
    with pytest.raises(UserError, match="--resume: batch was None and is now 2"):
        check_same(earlier, settings())


def test_settings_that_no_longer_exist_are_compared_as_they_are():
    current = settings()
    check_same({**current, "sampling": current["sampling"]}, current)
    with pytest.raises(UserError, match="--resume: sampling was"):
        check_same({**current, "sampling": {**current["sampling"], "gone": 1}}, current)


def test_changed_files_are_told_by_their_case():
    # Names of cached files end in a digest of their content.
    before = settings() | {"cases": ["Müller-1-0123456789ab.image.npy", "same-aaaaaaaaaaaa.image.npy"]}
    current = settings() | {"cases": ["Müller-1-ba9876543210.image.npy", "same-aaaaaaaaaaaa.image.npy"]}
    with pytest.raises(UserError, match="--resume: the files of Müller-1 are not as they were") as error:
        check_same(before, current)
    assert "same" not in str(error.value).replace("same recipe", "")


def test_checkpoints_of_0_4_0_know_the_same_candidate_sets():
    """They had no code for what lies outside the image: without its row, the sets are those they wrote down."""
    table = CandidateTable(3)
    for classes in ([1], [0, 2]):
        table.code(classes)
    assert Cases([], [], table).essence()["candidate_sets"] == [[1, 1, 1], [0, 1, 0], [1, 0, 1]]


def test_where_manifest_and_start_model_lie_decides_nothing():
    check_same(settings(), settings(manifest=Path("elsewhere") / "m.yaml", start_from=Path("model")))


def test_another_start_model_is_refused_and_one_of_an_earlier_version_is_not_compared():
    current = settings() | {"start_model": "a" * 64}
    check_same(current, current)
    # Earlier versions wrote down where the start model lay, not what it was.
    check_same(settings() | {"start_from": "/old/place/model"}, current)
    for before in (current | {"start_model": "b" * 64}, settings() | {"start_from": None}):
        with pytest.raises(UserError, match="--resume: start_model was "):
            check_same(before, current)


def test_a_run_goes_on_after_its_project_was_renamed_to_the_same_numbers(tmp_path):
    write_recipe(tmp_path / "project", Path("manifest.yaml"), steps=6, checkpoint_every=3)
    write_manifest(tmp_path / "project")
    uninterrupted = run(tmp_path / "project" / "recipe.yaml", tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "project" / "recipe.yaml", tmp_path / "project" / "run", reporter=AtStep(4, terminate))
    project = (tmp_path / "project").rename(tmp_path / "renamed")
    for file in project.glob("*.nii.gz"):
        os.utime(file, (1, 1))  # as a copy on another drive has another time
    resumed = run(project / "recipe.yaml", project / "run", resume=True)
    assert state_of(resumed)["step"] == 6
    assert equal_weights(state_of(uninterrupted)["network"], state_of(resumed)["network"])


@pytest.mark.parametrize("change", ["image", "weight", "validation"])
def test_a_manifest_whose_content_changed_is_refused(tmp_path, change):
    manifest = write_manifest(tmp_path, 3)
    recipe = write_recipe(tmp_path, manifest, steps=1)
    run(recipe, tmp_path / "run")
    content = yaml.safe_load(manifest.read_text("utf-8"))
    if change == "image":
        write_case(tmp_path, "case0", 9)
    elif change == "weight":
        content["datasets"][0]["weight"] = 2.0
    else:
        content["splits"] = {"validation": 0.34}
    write_yaml(manifest, content)
    with pytest.raises(UserError, match="--resume: "):
        run(recipe, tmp_path / "run", resume=True)


def test_groups_that_were_joined_are_known_by_their_former_names(tmp_path):
    """Two data sets annotate one CT, so the second one's group is the first one's; a recipe may still name it."""
    manifest = write_manifest(tmp_path, 2)
    content = yaml.safe_load(manifest.read_text("utf-8"))
    content["datasets"].append({"name": "again", "kind": "full", "cases": [
        {**content["datasets"][0]["cases"][1], "name": "twin"}]})
    joined = load_manifest(write_yaml(manifest, content))
    assert [case.group for case in joined.cases] == ["case0", "case1", "case1"]
    recipe = Recipe.model_validate({"manifest": manifest, "validation": {"groups": ["twin"]}})
    assert validation_groups(recipe, joined) == ["case1"]
    held_out = Recipe.model_validate({"manifest": manifest, "hold_out": ["twin"], "preprocessing": {
        "spacing_zyx": SPACING_ZYX, "patch_zyx": (8, 16, 16)}})
    cases = read_cases(held_out, joined, Reporter())
    assert [cached.case.name for cached in cases.training] == ["case0"]
    for setting in ({"hold_out": ["twins"]}, {"validation": {"groups": ["twins"]}}):
        with pytest.raises(UserError, match=r"no case of group .*twins.*did you mean 'twin'"):
            read_cases(Recipe.model_validate({"manifest": manifest, **setting}), joined, Reporter())
    held_out_and_validated = Recipe.model_validate({"manifest": manifest, "hold_out": ["case1"],
                                                    "validation": {"groups": ["twin"]}})
    with pytest.raises(UserError, match="no case of group 'twin'"):
        read_cases(held_out_and_validated, joined, Reporter())
