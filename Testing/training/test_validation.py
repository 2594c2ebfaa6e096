"""Validation judges each organ where the case vouches for it, and no organ anywhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.datasets.manifest import Case, Manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.loading.cache import cache_cases
from PartialOrganSegLib.models.bundle import Preprocessing
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.training.best_figures import BestFigures
from PartialOrganSegLib.training.distributed import Processes
from PartialOrganSegLib.training.evaluator import CONTEXT_SLICES, Evaluator, slices_to_predict
from PartialOrganSegLib.training.recipe import Recipe, load_recipe
from PartialOrganSegLib.training.trainer import Trainer
from PartialOrganSegLib.training.validation import validation_groups
from PartialOrganSegLib.training.working_prediction import predicted_logits
from Testing.helpers.training_data import HU, SPACING_ZYX, blocks, write_image, write_manifest, write_recipe

LIVER, SPLEEN, KIDNEY = 1, 2, 3


class Nearest(nn.Module):
    """The class whose HU is nearest; calls everything above `bright` HU stomach."""

    size_multiple = (2, 4, 4)

    def __init__(self, bright: float) -> None:
        super().__init__()
        self.register_buffer("bright", torch.tensor(bright))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        # Preprocessing of these tests leaves HU as they are.
        logits = torch.full((image.shape[0], 17, *image.shape[2:]), -1e4)
        for label, hu in HU.items():
            logits[:, label] = -(image[:, 0] - hu).abs()
        logits[:, 5] = torch.where(image[:, 0] > self.bright, 1.0, -1e4)
        return logits


def measured(folder: Path, case: Case, labels: np.ndarray, bright: float = 1e5) -> dict[str, float]:
    write_image(folder / "image.nii.gz", blocks(0)[0])
    write_image(folder / "label.nii.gz", labels)
    table = CandidateTable(17)
    cached = cache_cases([case], WORD16, table, SPACING_ZYX, folder / "cache", Reporter())
    preprocessing = Preprocessing(SPACING_ZYX, (-300.0, 500.0), 0.0, 1.0, (8, 16, 16))
    evaluator = Evaluator(cached, table.table, WORD16, preprocessing,
                          torch.device("cpu"), Processes())
    network = Nearest(bright)
    return evaluator.evaluate(network, network.state_dict(), Reporter())


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case("a", "a", "set", tmp_path / "image.nii.gz", Kind.FULL, tmp_path / "label.nii.gz")


def test_a_full_case_judges_every_organ(tmp_path, case):
    """The right network has Dice 1; an organ that it invents counts as 0."""
    labels = blocks(0)[1]
    assert measured(tmp_path, case, labels) == pytest.approx({"liver": 1, "spleen": 1, "left_kidney": 1, "mean": 1})
    wrong = measured(tmp_path, case, labels, bright=380)
    assert wrong == pytest.approx({"liver": 1, "spleen": 1, "left_kidney": 0, "stomach": 0, "mean": 0.5}, abs=0.01)


def test_a_partial_case_judges_what_it_vouches_for(tmp_path, case):
    labels = np.where(blocks(0)[1] == SPLEEN, SPLEEN, 0).astype(np.uint8)
    partial = replace(case, kind=Kind.PARTIAL, annotated=("spleen", "bladder"))
    assert measured(tmp_path, partial, labels, bright=380) == pytest.approx({"spleen": 1, "mean": 1})


def test_scribbles_judge_the_drawn_organs_over_drawn_voxels(tmp_path, case):
    labels = np.full(blocks(0)[1].shape, 255, np.uint8)
    truth = blocks(0)[1]
    labels[4] = np.where(truth[4] == SPLEEN, LIVER, truth[4])  # drawn wrongly: the spleen is called liver
    drawn = measured(tmp_path, replace(case, kind=Kind.SCRIBBLE), labels)
    liver, spleen = (truth[4] == LIVER).sum(), (truth[4] == SPLEEN).sum()
    assert drawn["liver"] == pytest.approx(2 * liver / (2 * liver + spleen))
    # Slice 4 may not show the kidney; where it does, it is right.
    assert "left_kidney" not in drawn or drawn["left_kidney"] == 1


def test_a_coarse_label_judges_none_of_its_organs(tmp_path, case):
    coarse = replace(case, label_map=((SPLEEN, ("spleen", "stomach")), (KIDNEY, ("spleen", "stomach"))))
    assert measured(tmp_path, coarse, blocks(0)[1], bright=380) == pytest.approx({"liver": 1, "mean": 1})


def test_nothing_to_compare_with_is_told(tmp_path, case):
    with pytest.raises(UserError, match="validation: expected cases with a label to compare with, found none"):
        measured(tmp_path, replace(case, kind=Kind.UNLABELLED, label=None), blocks(0)[1])


def test_groups_are_the_recipes_or_else_the_manifests():
    cases = tuple(Case(f"c{n}", f"g{n}", "set", Path("i"), Kind.FULL, Path("l")) for n in range(10))
    manifest = Manifest(Path("m.yaml"), WORD16, cases, validation=0.2, seed=1)
    assert len(validation_groups(Recipe(manifest="m"), manifest)) == 2
    assert validation_groups(Recipe(manifest="m", validation={"groups": ["g3"]}), manifest) == ["g3"]
    # Groups that are held out cannot be validated on: of the two that are left, half.
    held = [f"g{n}" for n in range(8)]
    drawn = validation_groups(Recipe(manifest="m", hold_out=held, validation={"share": 0.5}), manifest)
    assert len(drawn) == 1
    assert drawn[0] in ("g8", "g9")
    with pytest.raises(UserError, match=r"no case of group 'g33' .*did you mean 'g3'"):
        validation_groups(Recipe(manifest="m", validation={"groups": ["g33"]}), manifest)


def test_the_best_figures_are_kept_and_the_others_counted():
    best = BestFigures()
    assert [best.update({"liver": value}) for value in (0.0, 0.5, 0.5, 0.4)] == [True, True, False, False]
    assert (best.figures, best.stale) == ({"liver": 0.5}, 2)
    assert not best.update({})
    assert BestFigures(**best.state_dict()) == best


def test_organs_that_are_learnt_weigh_as_much_as_all_that_are_kept():
    best = BestFigures(half=("liver",))
    kept_dice = {"spleen": 0.9, "stomach": 0.9, "bladder": 0.9}
    assert best.score({"liver": 0.5, **kept_dice, "mean": 0.8}) == pytest.approx(0.7)
    assert best.update({"liver": 0.5, **kept_dice})
    assert best.update({"liver": 0.7, **{name: 0.85 for name in kept_dice}})  # the plain mean is lower
    assert best.score(kept_dice) == pytest.approx(0.9)
    assert best.score({}) == -1


def test_figures_with_too_much_lost_come_last():
    best = BestFigures(before={"liver": 0.9, "spleen": 0.9}, half=("liver",), tolerated_loss=0.02)
    assert best.update({"liver": 0.8, "spleen": 0.85, "mean": 0.825})  # there is no other yet
    assert best.update({"liver": 0.6, "spleen": 0.89, "mean": 0.745})  # what is to be learnt may have lost
    # The spleen lost 0.03, more than is tolerated, whatever the liver gained.
    assert not best.update({"liver": 0.9, "spleen": 0.87, "mean": 0.885})
    assert best.update({"liver": 0.61, "spleen": 0.89, "mean": 0.75})


def test_figures_without_a_gain_come_after_those_with_one():
    """As a run is judged: the start model would stay selected, however much better the kept organs got."""
    best = BestFigures(before={"liver": 0.8, "spleen": 0.8, "colon": 0.5}, half=("liver",), tolerated_loss=0.02)
    assert best.update({"liver": 0.81, "spleen": 0.795, "colon": 0.495})
    assert not best.update({"liver": 0.79, "spleen": 0.83, "colon": 0.53})
    assert best.update({"liver": 0.81, "spleen": 0.81, "colon": 0.5})
    unmeasured = BestFigures(before={"spleen": 0.8}, half=("liver",), tolerated_loss=0.02)
    assert unmeasured.update({"spleen": 0.79})
    assert unmeasured.update({"spleen": 0.8})


def test_of_a_left_out_slab_only_its_slices_and_some_around_are_looked_at():
    air = [1]  # the code of {background}; 0 may be anything
    codes = np.zeros((60, 4, 4), np.uint8)
    codes[:, 0] = 1  # air before the patient
    codes[30:33, 1:] = 3  # "not class 2"
    codes[31, 2, 2] = 2
    assert slices_to_predict(codes, air) == slice(30 - CONTEXT_SLICES, 33 + CONTEXT_SLICES)
    codes[58:] = 1  # background for sure, by a full label: something could be found there that is none
    assert slices_to_predict(codes, air) == slice(30 - CONTEXT_SLICES, 60)
    codes[:] = 0
    assert slices_to_predict(codes, air) == slice(0, 60)
    codes[:] = 2
    assert slices_to_predict(codes, air) == slice(0, 60)


def test_several_scales_are_averaged_as_in_use(tmp_path):
    """Zhou 2019, section 4.1: the sizes of testing, in validation too; the mean of the logits at each size."""
    torch.manual_seed(0)
    network = build_network("light_unet", 1, 4, channels=[4, 8]).eval()
    preprocessing = Preprocessing((3.0, 2.0, 2.0), (-300.0, 500.0), 60.0, 150.0, (8, 16, 16))
    image = np.random.default_rng(0).integers(-200, 300, (8, 16, 16)).astype(np.int16)
    device = torch.device("cpu")
    single = []
    for scale in (0.5, 1.0, 2.0):
        single.append(predicted_logits(network, image, preprocessing, 4, device, (scale,)).float())
    together = predicted_logits(network, image, preprocessing, 4, device, (0.5, 1.0, 2.0)).float()
    torch.testing.assert_close(together, torch.stack(single).mean(0), atol=2e-2, rtol=0)
    data = preprocessing.normalise(torch.from_numpy(image.astype(np.float32)))[None, None]
    enlarged = F.interpolate(data, (8, 32, 32), mode="trilinear", align_corners=False)
    with torch.no_grad():
        expected = F.interpolate(network(enlarged), (8, 16, 16), mode="trilinear", align_corners=False)
    torch.testing.assert_close(single[2], expected[0].permute(1, 2, 3, 0), atol=2e-2, rtol=0)
    recipe = load_recipe(write_recipe(tmp_path, write_manifest(tmp_path), steps=1,
                                      validation={"groups": ["case1"], "test_scales": [0.5, 1, 2]}))
    trainer = Trainer(recipe, tmp_path / "run")
    assert trainer.evaluator._scales == (0.5, 1.0, 2.0)
