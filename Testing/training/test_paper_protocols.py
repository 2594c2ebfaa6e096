"""What the papers say of how they trained, held against the shipped recipes, and the parts that the recipes need."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from PartialOrganSegLib.annotation import OUTSIDE
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.loading.augmentation import IntensityChances
from PartialOrganSegLib.loading.targets import central
from PartialOrganSegLib.losses import ExclusionCrossEntropy, ExclusionDice, MarginalCrossEntropy, TargetAdaptive
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import SHI5
from PartialOrganSegLib.training.batches import augmentation
from PartialOrganSegLib.training.distributed import Processes
from PartialOrganSegLib.training.network_sizes import slices_of
from PartialOrganSegLib.training.objective import Objective
from PartialOrganSegLib.training.recipe import Recipe, load_recipe, shipped_recipes
from PartialOrganSegLib.training.settings import Stage
from PartialOrganSegLib.training.training_step import TrainingStep
from Testing.helpers.listener import Listener
from Testing.helpers.loss_batches import batch, random_case, table_of

# The candidate sets of Shi's sets: singletons of the full one; of P1 and P2 one organ and the merged background.
SETS = table_of(6, *({c} for c in range(6)), {0, 2, 3, 4, 5}, {0, 1, 3, 4, 5})


def mixed_batch(seed: int, grad: bool = False):
    """A mini-batch of a full patch and a partial one of liver and merged background."""
    logits, codes = random_case(seed, SETS, (2, 3, 4, 5))
    generator = np.random.default_rng(seed)
    codes[0] = generator.integers(1, 7, codes.shape[1:])
    codes[1] = generator.choice([2, 7], codes.shape[1:])
    return batch(logits, codes, SETS, grad=grad, fully_labelled=[True, False]), logits, codes


# --- Shi 2021 -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["marginal", "marginal_exclusion"])
def test_shis_rate_is_the_printed_one(name):
    """Section 4.4: 1e-1, cut by 20 % where the loss fell by less than 1e-3 over 10 epochs; up to 0.4 it was 3e-4."""
    for stage in load_recipe(name).resolved_stages():
        assert (stage.optimiser.name, stage.optimiser.learning_rate) == ("adam", 0.1)
        assert (stage.schedule.factor, stage.schedule.patience, stage.schedule.least_gain) == (0.8, 10, 1e-3)


@pytest.mark.parametrize("name", ["marginal", "marginal_exclusion"])
def test_shis_epochs_are_250_mini_batches_of_every_data_set(name):
    """Section 4.4: 60 epochs on the full set, 140 on five; up to 0.4 the second stage had 35 000 steps in all."""
    first, second = load_recipe(name).resolved_stages()
    assert (first.steps, second.steps) == (60 * 250, 140 * 250 * 5)
    assert (first.schedule.epoch_steps, second.schedule.epoch_steps) == (250, 250 * 5)
    assert second.sampling.datasets == "alternate"  # a mini-batch is of one set


def test_exclusion_is_taken_on_partial_patches_alone():
    """Section 4.4: "the regular loss, if from F, or the marginal loss and the exclusion loss, if from P_i"."""
    stage = load_recipe("marginal_exclusion").resolved_stages()[1]
    case, _, _ = mixed_batch(0, grad=True)
    loss, terms = Objective(stage, SHI5)([case.logits], case.targets)
    partial_logits = case.logits.detach()[1:].requires_grad_()
    alone, _, codes = mixed_batch(0)
    partial = batch(alone.logits[1:].numpy(), codes[1:], SETS, fully_labelled=[False])
    expected = {"exclusion_dice": ExclusionDice(), "exclusion_cross_entropy": ExclusionCrossEntropy()}
    for name, exclusion in expected.items():
        assert terms[name] == pytest.approx(float(exclusion(partial_logits, partial.targets).detach()), rel=1e-5)
        everywhere = float(exclusion(case.logits, case.targets).detach())
        assert terms[name] != pytest.approx(everywhere, rel=1e-3)  # what 0.4 had
    loss.backward()
    assert np.isfinite(case.logits.grad.numpy()).all()
    assert case.logits.grad[0].any()  # the regular losses see the full patch


def test_a_full_mini_batch_has_no_exclusion():
    stage = load_recipe("marginal_exclusion").resolved_stages()[1]
    _, logits, codes = mixed_batch(1)
    full = batch(logits[:1], codes[:1], SETS, grad=True, fully_labelled=[True])
    _, terms = Objective(stage, SHI5)([full.logits], full.targets)
    assert terms["exclusion_dice"] == terms["exclusion_cross_entropy"] == 0.0
    assert terms["marginal_cross_entropy"] > 0


def test_exclusion_cross_entropy_can_be_left_out():
    recipe = load_recipe("marginal_exclusion", ["stages.1.losses.exclusion_cross_entropy=0"])
    case, _, _ = mixed_batch(2)
    _, terms = Objective(recipe.resolved_stages()[1], SHI5)([case.logits], case.targets)
    assert set(terms) == {"marginal_cross_entropy", "marginal_dice", "exclusion_dice"}


def test_losses_of_partial_cases_alone_must_be_there():
    with pytest.raises(UserError, match=r"partial_only: .*found 'exclusion_dise'.*did you mean 'exclusion_dice'"):
        Objective(Stage(losses={"exclusion_dice": 1.0}, partial_only=["exclusion_dise"]), SHI5)
    contradicting = Stage(losses={"marginal_cross_entropy": 1.0}, partial_only=["marginal_cross_entropy"],
                 pseudo_labels={"losses": ["marginal_cross_entropy"]})
    with pytest.raises(UserError, match="partial_only: expected losses that see no pseudo-labels"):
        Objective(contradicting, SHI5)


# --- Fang 2020 ------------------------------------------------------------------------------------------------------

def pipo_step() -> TrainingStep:
    torch.manual_seed(0)
    network = build_network("pipo_fan", 1, 6, channels=[4, 8, 8], input_scales=3, output_scales=3)
    table = torch.from_numpy(np.insert(SETS, 1, True, axis=0))
    return TrainingStep(network, None, table, torch.device("cpu"), False, Processes())


@pytest.mark.parametrize("name", ["pipo_fan", "pipo_fan_single"])
def test_in_fangs_second_phase_the_loss_changes_and_all_parameters_train(name):
    """Section IV.B. Up to 0.4 the second phase trained the fusion's parameters alone, with momentum 0."""
    step = pipo_step()
    stages = load_recipe(name).resolved_stages()
    shrunk = stages[0].model_copy(update={"deep_supervision": stages[0].deep_supervision.model_copy(
        update={"weights": [1.0, 1.0, 1.0]})})
    generator = np.random.default_rng(0)
    for number, (stage, outputs) in enumerate(zip((shrunk, stages[1]), (3, 1), strict=True)):
        step.begin(stage, Objective(stage, SHI5))
        assert all(group["momentum"] == 0.9 for group in step.optimiser.param_groups)
        assert type(step.optimiser).__name__ == "RMSprop"
        image = torch.from_numpy(generator.normal(0, 1, (2, 1, 3, 16, 16)).astype(np.float32))
        outputs_of_network = step.network.train()(image)
        assert len(outputs_of_network if isinstance(outputs_of_network, list) else [outputs_of_network]) == outputs
        before = {name: value.clone() for name, value in step.network.named_parameters()}
        codes = generator.integers(1, 7, (2, 3, 16, 16)).astype(np.uint8)
        case = batch(np.zeros((2, 6, 3, 16, 16), np.float32), codes, SETS, image=image.numpy())
        step.step(number + 1, 0, case.targets)
        still = [name for name, value in step.network.named_parameters() if torch.equal(value, before[name])]
        if outputs == 1:
            # The whole network learns towards the fused output; of a bias before a norm only rounding moves.
            assert [name for name in still if not name.endswith(".bias")] == []
        else:
            assert {name.split(".")[1] for name in still} == {"fusion"}  # which is not used yet


def test_the_settings_of_a_single_organ():
    """Section IV.B: rate 2e-3, 2500 epochs of which 2000 are deep supervision, weights 0.2 and 1.2."""
    recipe = load_recipe("pipo_fan_single")
    first, second = recipe.resolved_stages()
    assert (first.optimiser.learning_rate, second.optimiser.learning_rate) == (2e-3, 2e-3)
    assert first.steps == 4 * second.steps
    assert first.schedule.every * 2000 == first.steps * 40  # cut after every 40 epochs
    assert first.loss_arguments == second.loss_arguments == {"target_adaptive": {"class_weights": [0.2, 1.2]}}


# --- Zhou 2019 ------------------------------------------------------------------------------------------------------

def test_shares_that_the_recipe_gives_need_no_full_case():
    """Up to 0.4 `loss_arguments.prior.q` was thrown away where no case is labelled in full."""
    reporter = Listener()
    q = [0.7, 0.1, 0.05, 0.05, 0.05, 0.05]
    case, _, _ = mixed_batch(3)
    for name in ("prior", "prior_primal_dual"):
        stage = Stage(losses={"marginal_cross_entropy": 1.0, name: 0.1}, loss_arguments={name: {"q": q}})
        _, terms = Objective(stage, SHI5, None, reporter=reporter)([case.logits], case.targets)
        assert terms[name] > 0
        without = Stage(losses={"marginal_cross_entropy": 1.0, name: 0.1})
        _, terms = Objective(without, SHI5, None, reporter=reporter)([case.logits], case.targets)
        assert set(terms) == {"marginal_cross_entropy"}
    assert len(reporter.warnings) == 2  # of the two stages without shares


@pytest.mark.parametrize("name", ["pann_2d", "pann_3d", "partial", "partial_2d", "semi", "semi_2d"])
def test_zhou_turns_and_scales_alone(name):
    """Section 4.1: rotation of 0 to 15 degrees; inputs of six sizes in 2D; nothing is said of anything else."""
    changes = load_recipe(name).augmentation
    assert changes.rotation == (15.0, 0.0, 0.0)
    assert changes.scale_factors == ([0.75, 1.0, 1.25, 1.5, 1.75, 2.0] if name.endswith("2d") else [])
    off = ("shift", "scale", "axis_scale", "deformation", "hu_scale", "hu_shift", "blur", "thick_slices", "contrast",
           "shading", "noise")
    assert {part: getattr(changes, part) for part in off} == dict.fromkeys(off, 0.0)


def test_what_a_network_of_slices_sees_is_slices_of_the_scan():
    """Turned by 8 degrees about y or x, a "slice" of 512 mm goes through 24 of 3 mm, and so do the strokes in it."""
    recipes = {name: load_recipe(name) for name in shipped_recipes()}
    of_slices = {name for name, recipe in recipes.items()
                 if recipe.preprocessing.patch_zyx[0] == 1 or sees_slices(recipe)}
    assert of_slices > {"pann_2d", "pipo_fan", "pipo_fan_single", "scribble_dense", "scribble_nnunet", "scribble_pce"}
    # Each slice has a code and a brightness of its own.
    shape = (9, 700, 700)
    codes = np.broadcast_to(np.arange(10, 19, dtype=np.uint8)[:, None, None], shape)
    image = np.broadcast_to(np.arange(0, 180, 20, dtype=np.int16)[:, None, None], shape)
    for name in sorted(of_slices):
        cut = replace(augmentation(recipes[name]), hu_scale=0.0, hu_shift=0.0,
                      intensity=IntensityChances(0, 0, 0, 0, 0))
        for seed in range(6):
            patch, marks, _ = cut(image, codes, (8 * (seed % 2), 350, 350), np.random.default_rng(seed))
            for pixels, of_slice in zip(patch[0], marks, strict=True):
                (code,) = set(of_slice.unique().tolist()) - {OUTSIDE}
                # In the middle: at the border of the image brightness mixes with air.
                middle = central(pixels, (32, 32)).numpy() * cut.divide + cut.subtract
                np.testing.assert_allclose(middle, (code - 10) * 20, atol=1e-2, err_msg=f"{name}, draw {seed}")


def sees_slices(recipe: Recipe) -> bool:
    """Whether the recipe's network is one of slices, alone or with their neighbours."""
    if recipe.network is None:
        return False
    with torch.device("meta"):
        network = build_network(recipe.network.name, 1, 3, **recipe.network.arguments)
    return slices_of(network) is not None


# --- formulas -------------------------------------------------------------------------------------------------------

def test_weighted_target_adaptive_loss_is_the_formula():
    """Fang 2020, equations 1 and 8 in numpy, and its slope by finite differences."""
    case, logits, _ = mixed_batch(4, grad=True)
    loss = TargetAdaptive(class_weights=[0.2, 1.2])
    value = loss(*case)
    value.backward()
    table = np.insert(SETS, 1, True, axis=0)[case.targets.candidate_map.numpy()]

    def formula(of: np.ndarray) -> float:
        powers = np.exp(of.astype(np.float64) - of.max(1, keepdims=True))
        shares = np.moveaxis(powers / powers.sum(1, keepdims=True), 1, -1)
        factors = np.where(table[..., 0], 0.2, 1.2)
        return float(-(factors * np.log((shares * table).sum(-1))).mean())

    assert float(value.detach()) == pytest.approx(formula(logits), rel=1e-5)
    for place in ((0, 0, 1, 2, 3), (1, 2, 0, 0, 0), (1, 1, 2, 3, 4)):
        moved = [logits.astype(np.float64), logits.astype(np.float64)]
        moved[0][place] += 1e-4
        moved[1][place] -= 1e-4
        slope = (formula(moved[0]) - formula(moved[1])) / 2e-4
        assert float(case.logits.grad[place]) == pytest.approx(slope, rel=1e-3, abs=1e-7)
    plain = TargetAdaptive(class_weights=[1, 1])(*case)
    assert float(plain.detach()) == float(MarginalCrossEntropy()(*case).detach())
    with pytest.raises(UserError, match=r"class_weights: expected two factors, of the background and of organs"):
        TargetAdaptive(class_weights=[1.0, 2.0, 3.0])
