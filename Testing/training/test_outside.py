"""A recipe with a loss, a network, an optimiser and a schedule of another module trains, and its model loads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.losses import WeightedLosses
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.training.recipe import load_recipe
from Testing.helpers.training_data import write_manifest, write_recipe
from Testing.helpers.training_runs import log_of, run

MODULE = '''
import torch
from torch import nn
from PartialOrganSegLib.losses import Prior, Supervision
from PartialOrganSegLib.training.schedules import Schedule

class Focal(nn.Module):
    """Marginal cross entropy weighted by (1 - p)^power."""
    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.power = power
    def forward(self, logits, targets):
        batch = Supervision.of(logits, targets)
        voxels = batch.labelled
        if not len(voxels):
            return batch.zero
        inside = voxels.log_probabilities.masked_fill(~voxels.allowed, float("-inf")).logsumexp(1)
        return (-(1 - inside.exp()) ** self.power * inside).mean()

class Former(nn.Module):
    """Written for 0.4.0."""
    def forward(self, batch):
        return batch.zero

class OurPrior(Prior):
    """The prior under a name of ours."""

class OneConvolution(nn.Module):
    """A single convolution."""
    size_multiple = (1, 1, 1)
    def __init__(self, in_channels: int, classes: int, width: int = 3) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(in_channels, classes, width, padding=width // 2)
    def forward(self, image):
        return self.convolution(image)

class NoSizes(OneConvolution):
    size_multiple = property()

class Halving(Schedule):
    """Half of the rate after every `period` steps."""
    def __init__(self, steps: int, warmup_steps: int = 0, period: int = 5) -> None:
        super().__init__(steps, warmup_steps)
        self.period = period
    def decay(self, step: int) -> float:
        return 0.5 ** (step // self.period)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "their_parts.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    # Each test writes the module to a folder of its own.
    monkeypatch.delitem(sys.modules, "their_parts", raising=False)
    return tmp_path


def test_a_recipe_trains_with_parts_from_outside(folder: Path):
    recipe = write_recipe(
        folder, write_manifest(folder), steps=30, checkpoint_every=30,
        losses={"their_parts:Focal": 1.0, "marginal_dice": 0.5, "their_parts:OurPrior": 0.1},
        loss_arguments={"their_parts:Focal": {"power": 1.5}},
        network={"name": "their_parts:OneConvolution", "arguments": {"width": 5}},
        optimiser={"name": "torch.optim:NAdam", "learning_rate": 0.01, "warmup_steps": 0, "ema": 0.5,
                   "arguments": {"momentum_decay": 0.01}},
        schedule={"name": "their_parts:Halving", "arguments": {"period": 10}})
    run(recipe, folder / "run")
    steps = [line for line in log_of(folder / "run") if "their_parts:Focal" in line]
    assert [line["learning_rate"] for line in steps] == pytest.approx([0.01, 0.005, 0.0025])  # after 10, 20, 30
    assert set(steps[0]) >= {"marginal_dice", "their_parts:OurPrior"}
    assert steps[-1]["their_parts:Focal"] < steps[0]["their_parts:Focal"]
    bundle = load_bundle(folder / "run" / "model")
    network = bundle.load_network("cpu")
    assert type(network).__name__ == "OneConvolution"
    assert network.convolution.weight.shape == (17, 1, 5, 5, 5)
    assert network(torch.zeros(1, 1, 4, 4, 4)).shape == (1, 17, 4, 4, 4)


@pytest.mark.parametrize(("changes", "message"), [
    ({"losses": {"marginal_dise": 1.0}}, r"losses: expected one of crf, .* \(did you mean 'marginal_d"),
    ({"losses": {"their_parts:Fokal": 1.0}}, r"losses: their_parts:Fokal: .*found no 'Fokal' \(did you mean 'Focal'\?"),
    # A recipe may come from somebody else: it names classes, it does not call functions.
    ({"losses": {"subprocess:run": 1.0}}, "losses: expected a class derived from torch.nn.*, found subprocess:run"),
    ({"loss_arguments": {"marginal_dice": {"per_imag": True}}},
     r"loss_arguments: marginal_dice: unknown argument 'per_imag' \(did you mean 'per_image'\?\); known: per_image"),
    ({"loss_arguments": {"their_parts:Focal": {"gamma": 2}}}, "unknown argument 'gamma'; known: power"),
    ({"network": {"name": "light_unit"}}, r"network\.name: expected one of light_unet, .*did you mean 'light_unet'"),
    ({"network": {"name": "light_unet", "arguments": {"chanels": [8]}}},
     r"network\.arguments: unknown argument 'chanels' \(did you mean 'channels'\?\); known: channels, norm"),
    ({"network": {"name": "their_parts:OneConvolution", "arguments": {"classes": 3}}},
     r"network\.arguments: unknown argument 'classes'; known: width"),
    ({"network": {"name": "resunet_2d", "arguments": {"residual": True}}},
     r"network\.arguments: unknown argument 'residual'; known: slices, channels, strides, kernels, deep_supervision"),
    ({"optimiser": {"name": "torch.optim:NAdm"}}, r"optimiser\.name: torch\.optim:NAdm: .*did you mean 'NAdam'"),
    ({"optimiser": {"name": "adamw", "arguments": {"beta": 1}}}, r"optimiser\.arguments: unknown argument 'beta'"),
    ({"schedule": {"name": "pol"}}, r"schedule\.name: expected one of poly, step, plateau, constant or package"),
    ({"schedule": {"arguments": {"steps": 3}}}, r"schedule\.arguments: unknown argument 'steps' \(did you mean 'warm"),
    ({"stages": [{"losses": {"marginal_dise": 1.0}}]}, r"stages\.0\.losses: .*did you mean 'marginal_dice'"),
])
def test_unknown_names_are_refused_when_the_recipe_is_read(folder: Path, changes: dict, message: str):
    path = write_recipe(folder, folder / "manifest.yaml", **changes)
    with pytest.raises(UserError, match=rf"recipe\.yaml: {message}" if message[0] != "u" else message) as error:
        load_recipe(path)
    assert "\n" not in str(error.value)


def test_a_network_says_what_sizes_it_takes(folder: Path):
    recipe = write_recipe(folder, write_manifest(folder), network={"name": "their_parts:NoSizes"})
    with pytest.raises(UserError, match=r"network their_parts:NoSizes: expected an attribute size_multiple"):
        run(recipe, folder / "run")


def test_dual_variables_need_an_optimiser_that_ascends(folder: Path):
    recipe = write_recipe(folder, write_manifest(folder), losses={"marginal_dice": 1.0, "prior_primal_dual": 0.1},
                          optimiser={"name": "torch.optim:NAdam"}, steps=1)
    run(recipe, folder / "run")  # this one can
    recipe = write_recipe(folder, folder / "manifest.yaml", losses={"marginal_dice": 1.0, "prior_primal_dual": 0.1},
                          optimiser={"name": "torch.optim:LBFGS"}, steps=1)
    with pytest.raises(UserError, match=r"expected one that can maximise .*, found torch\.optim:LBFGS"):
        run(recipe, folder / "other")


def test_a_loss_of_an_earlier_version_is_refused_with_what_it_should_take(folder: Path):
    with pytest.raises(UserError, match=r"losses: their_parts:Former: expected forward\(logits, targets\), "
                                        r"found forward\(batch\)"):
        WeightedLosses({"their_parts:Former": 1.0})
