"""What a run gives lies on the line between its start model and what it trained."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.training.hooks import Hook
from PartialOrganSegLib.training.recipe import load_recipe
from PartialOrganSegLib.training.trainer import train
from PartialOrganSegLib.training.transfer import class_axes
from PartialOrganSegLib.training.weight_ensemble import WeightEnsemble
from Testing.helpers.finetune_data import NETWORK, write_start
from Testing.helpers.training_data import write_manifest, write_recipe


def weights(seed: int, classes: int = 5) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {name: torch.randn_like(value) if value.is_floating_point() else torch.full_like(value, seed)
            for name, value in build_network("light_unet", 1, classes, **NETWORK, norm="batch").state_dict().items()}


@pytest.fixture(scope="module")
def states() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The weights of a start model and of what was trained from it."""
    return weights(1), weights(2)


# Fewer than usual: an alpha and four organs vary, no shapes.
@settings(max_examples=40)
@given(alpha=st.floats(0.01, 1), new=st.lists(st.integers(1, 4), unique=True))
def test_the_mixture_is_the_stated_one(states, alpha, new):
    start, trained = states
    axes = class_axes("light_unet", {**NETWORK, "norm": "batch"}, 5)
    mixed = WeightEnsemble.from_start(start, alpha, axes, new).weights(trained)
    assert mixed.keys() == trained.keys()
    for name, value in mixed.items():
        if not value.is_floating_point():
            assert torch.equal(value, trained[name]), name
            continue
        expected = (1 - alpha) * start[name].numpy().astype(float) + alpha * trained[name].numpy()
        # New organs have no weights in the start model: mixing them with noise would undo what was learnt.
        for label in new if name in ("head.weight", "head.bias") else ():
            place = (slice(None), label) if name == "head.weight" else label
            expected[place] = trained[name].numpy()[place]
        np.testing.assert_allclose(value.numpy(), expected, atol=1e-5, err_msg=name)


def test_neither_side_is_changed():
    start, trained = weights(1), weights(2)
    ensemble = WeightEnsemble.from_start(start, 0.5, {name: [0] for name in start}, [1])
    start["head.bias"] += 1  # the network goes on from these tensors
    ensemble.weights(trained)
    assert all(torch.equal(value, weights(2)[name]) for name, value in trained.items())
    assert torch.equal(ensemble.start["head.bias"], weights(1)["head.bias"])


def test_a_run_with_new_organs_keeps_what_it_learnt_of_them(tmp_path):
    start = write_start(tmp_path / "start", ["spleen", "liver"])
    recipe = write_recipe(tmp_path, write_manifest(tmp_path, 1), steps=4, start_from=str(start.folder), alpha=0.1,
                          optimiser={"learning_rate": 0.1, "warmup_steps": 0})
    train(load_recipe(recipe), tmp_path / "run", False, "cpu")
    bundle = load_bundle(tmp_path / "run" / "model")
    bias = bundle.load_network().state_dict()["head.bias"]
    trained = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)["average"]["head.bias"]
    before = start.load_network().state_dict()["head.bias"]
    names, old = bundle.label_space.names, start.label_space.names
    for label, name in enumerate(names, 1):
        expected = trained[label]
        if name in old:
            assert abs(trained[label] - before[start.label_space.index(name)]) > 0.01, name
            expected = 0.1 * trained[label] + 0.9 * before[start.label_space.index(name)]
        assert bias[label].item() == pytest.approx(float(expected), abs=1e-3), name
    assert 0 < len(set(old) & set(names)) < len(names)


class Measurements(Reporter):
    """Counts measurements; does `action` at the end of number `at`."""

    def __init__(self, at: int = 0, action=None) -> None:
        self.count, self.at, self.action = 0, at, action

    def progress(self, stage: str, step: int, total: int) -> None:
        if stage == "validation" and step == total:
            self.count += 1
            if self.count == self.at:
                self.action()


@pytest.fixture(scope="module")
def harmful(tmp_path_factory):
    """The recipe of a run that makes its start model, which knows the organs, much worse."""
    folder = tmp_path_factory.mktemp("harmful")
    recipe = write_recipe(folder, write_manifest(folder, 2), steps=60)
    train(load_recipe(recipe), folder / "start", False, "cpu")
    return load_recipe(recipe, [
        f"start_from='{folder / 'start' / 'model'}'", "alpha=0.75", "steps=8", "optimiser.learning_rate=3.0",
        "optimiser.warmup_steps=1", "validation={groups: [case1], alphas: [1.0, 0.001]}"])


def test_the_alpha_that_measures_best_is_taken(harmful, tmp_path):
    train(harmful, tmp_path / "run", False, "cpu")
    metrics = load_bundle(tmp_path / "run" / "model").metadata.partialorganseg.metrics
    before = metrics["validation_dice_before"]
    assert before["mean"] > 0.3
    assert metrics["alpha"] == 0.001
    # A thousandth of weights that a learning rate of 3 blew up still moves a few voxels of small organs.
    assert metrics["validation_dice"] == pytest.approx(before, abs=0.05)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text("utf-8").splitlines()]
    tried = {line["alpha"]: line["mean_dice"] for line in lines if "alpha" in line}
    assert tried.keys() == {1.0, 0.001}
    # Nearly all of the start model is better than what a learning rate of 3 made of it.
    assert tried[0.001] > tried[1.0] + 0.1
    weights = load_bundle(tmp_path / "run" / "model").load_network().state_dict()
    start = load_bundle(harmful.start_from).load_network().state_dict()
    trained = torch.load(tmp_path / "run" / "checkpoints" / "best.pt", weights_only=True)["average"]
    for name, value in weights.items():
        expected = 0.999 * start[name].numpy() + 0.001 * trained[name].numpy()
        np.testing.assert_allclose(value.numpy(), expected, rtol=2e-3, atol=1e-3, err_msg=name)


def test_a_hook_without_time_ends_the_trials(harmful, tmp_path):
    class Hurry(Hook):
        def __init__(self) -> None:
            self.allowed = 1

        def allows_trial(self, trainer) -> bool:
            self.allowed -= 1
            return self.allowed >= 0

    train(harmful, tmp_path / "run", False, "cpu", hooks=[Hurry()])
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line["alpha"] for line in lines if "alpha" in line] == [1.0]
    # Of what was measured the best is taken all the same; 0.001, which is better, was not.
    assert load_bundle(tmp_path / "run" / "model").metadata.partialorganseg.metrics["alpha"] >= 0.75


def test_asked_to_stop_while_alphas_are_measured_it_goes_on_to_the_same(harmful, tmp_path):
    train(harmful, tmp_path / "whole", False, "cpu")
    third = Measurements(3, lambda: signal.raise_signal(signal.SIGINT))  # before, at the end, the first alpha
    with pytest.raises(KeyboardInterrupt):
        train(harmful, tmp_path / "run", False, "cpu", third)
    assert not (tmp_path / "run" / "model").exists()
    train(harmful, tmp_path / "run", True, "cpu")
    resumed, expected = (load_bundle(tmp_path / name / "model") for name in ("run", "whole"))
    assert resumed.metadata.partialorganseg.metrics == expected.metadata.partialorganseg.metrics
    ours, theirs = resumed.load_network().state_dict(), expected.load_network().state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
