"""What a run that is gone on with may differ in: settings that did not exist when it began, at their defaults."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.training.cases import Cases
from PartialOrganSegLib.training.recipe import Recipe
from PartialOrganSegLib.training.resuming import check_same, deciding_settings

RECIPE = {"manifest": Path("m.yaml"), "validation": {"groups": ["case1"]},
          "stages": [{"name": "first", "steps": 3}, {"name": "second", "steps": 4, "sampling": {"anywhere": 0.4}}]}


def settings(**changes) -> dict:
    return {**deciding_settings(Recipe.model_validate({**RECIPE, **changes})), "batch": 2}


@pytest.fixture
def earlier() -> dict:
    """Of a version without some settings."""
    found = copy.deepcopy(settings())
    del found["air_is_background"], found["sampling"]["foreground"], found["validation"]["alphas"]
    return found


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
    del earlier["losses"]["marginal_dice"]
    with pytest.raises(UserError, match="--resume: losses was"):
        check_same(earlier, settings())


def test_what_is_not_the_recipes_has_no_default(earlier):
    del earlier["batch"]
    with pytest.raises(UserError, match="--resume: batch was None and is now 2"):
        check_same(earlier, settings())


def test_settings_that_no_longer_exist_are_compared_as_they_are():
    now = settings()
    check_same({**now, "sampling": now["sampling"]}, now)
    with pytest.raises(UserError, match="--resume: sampling was"):
        check_same({**now, "sampling": {**now["sampling"], "gone": 1}}, now)


def test_changed_files_are_told_by_their_case():
    before = settings() | {"cases": ["Müller-1-0123456789ab.image.npy", "same-aaaaaaaaaaaa.image.npy"]}
    now = settings() | {"cases": ["Müller-1-ba9876543210.image.npy", "same-aaaaaaaaaaaa.image.npy"]}
    with pytest.raises(UserError, match="--resume: the files of Müller-1 are not as they were") as error:
        check_same(before, now)
    assert "same" not in str(error.value).replace("same recipe", "")


def test_checkpoints_of_0_4_0_know_the_same_candidate_sets():
    """They had no code for what lies outside the image: without its row, the sets are those they wrote down."""
    table = CandidateTable(3)
    for classes in ([1], [0, 2]):
        table.code(classes)
    assert Cases([], [], table).essence()["candidate_sets"] == [[1, 1, 1], [0, 1, 0], [1, 0, 1]]
