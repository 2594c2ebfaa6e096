"""The shares of classes that the prior compares predictions with are those of patches as a stage draws them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.losses import prior_distribution
from PartialOrganSegLib.training import batches
from PartialOrganSegLib.training.cases import Cases, read_cases
from PartialOrganSegLib.training.recipe import Recipe, load_recipe
from Testing.helpers.training_data import write_manifest, write_recipe

DRAWS = 500  # by which shares are right to about .02


@pytest.fixture(scope="module", autouse=True)
def _many_patches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "DISTRIBUTION_PATCHES", DRAWS)
        yield


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("cases")
    small = {"spacing_zyx": [3, 2, 2], "patch_zyx": [2, 4, 4]}  # most of them in an organ or beside all
    return load_recipe(write_recipe(folder, write_manifest(folder), preprocessing=small))


@pytest.fixture(scope="module")
def cases(recipe: Recipe) -> Cases:
    return read_cases(recipe, load_manifest(recipe.manifest), Reporter())


def shares(recipe: Recipe, cases: Cases, batch: int, **sampling: object) -> np.ndarray:
    stage = recipe.changed(sampling=sampling).resolved_stages()[0]
    table = torch.from_numpy(cases.table.table)
    return np.array(batches.label_distribution(recipe, cases.training, stage, batch, table))


@pytest.mark.parametrize(("foreground", "batch"), [(0, 2), (1, 2), (1, 4), (3, 4)])
def test_shares_are_of_the_mini_batches_that_are_trained_on(recipe, cases, foreground, batch):
    sampling = {"foreground": foreground, "anywhere": 1.0}
    stage = recipe.changed(sampling=sampling).resolved_stages()[0]
    sampler = batches.patches(recipe, cases.training, stage, batch, DRAWS)
    drawn = (sampler[number][0].candidate_map.numpy() for number in range(DRAWS, 2 * DRAWS))
    expected = prior_distribution(drawn, cases.table.table)
    np.testing.assert_allclose(shares(recipe, cases, batch, **sampling), expected, atol=0.06)


def test_shares_are_of_the_places_in_a_mini_batch_that_other_cases_have(recipe, cases):
    """With `full_share` .5 the first of two patches is of another case, and with `foreground` 1 it lies in an organ."""
    in_organs = shares(recipe, cases, 1, foreground=1, anywhere=1.0)
    anywhere = shares(recipe, cases, 1, foreground=0, anywhere=1.0)
    assert in_organs[0] < anywhere[0] - 0.2
    others_first = shares(recipe, cases, 2, foreground=1, anywhere=1.0, full_share=0.5)
    np.testing.assert_allclose(others_first, in_organs, atol=0.06)
