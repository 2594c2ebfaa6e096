"""What a run gives lies on the line between its start model and what it trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from finetune_data import NETWORK, write_start
from hypothesis import given
from hypothesis import strategies as st
from training_data import write_manifest, write_recipe

from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.training.recipe import load_recipe
from PartialOrganSegLib.training.start_share import StartShare
from PartialOrganSegLib.training.trainer import train
from PartialOrganSegLib.training.transfer import class_axes


def weights(seed: int, classes: int = 5) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {name: torch.randn_like(value) if value.is_floating_point() else torch.full_like(value, seed)
            for name, value in build_network("light_unet", 1, classes, **NETWORK, norm="batch").state_dict().items()}


@given(share=st.floats(0, 0.99), new=st.lists(st.integers(1, 4), unique=True))
def test_the_mixture_is_the_stated_one(share, new):
    start, trained = weights(1), weights(2)
    axes = class_axes("light_unet", {**NETWORK, "norm": "batch"}, 5)
    mixed = StartShare(start, share, axes, new).mix(trained)
    assert mixed.keys() == trained.keys()
    for name, value in mixed.items():
        if not value.is_floating_point():
            assert torch.equal(value, trained[name]), name
            continue
        expected = share * start[name].numpy().astype(float) + (1 - share) * trained[name].numpy()
        for label in new if name in ("head.weight", "head.bias") else ():
            place = (slice(None), label) if name == "head.weight" else label
            expected[place] = trained[name].numpy()[place]
        np.testing.assert_allclose(value.numpy(), expected, atol=1e-5, err_msg=name)


def test_neither_side_is_changed():
    start, trained = weights(1), weights(2)
    share = StartShare(start, 0.5, {name: [0] for name in start}, [1])
    start["head.bias"] += 1  # the network goes on from these tensors
    share.mix(trained)
    assert all(torch.equal(value, weights(2)[name]) for name, value in trained.items())
    assert torch.equal(share.start["head.bias"], weights(1)["head.bias"])


def test_a_run_with_new_organs_keeps_what_it_learnt_of_them(tmp_path):
    start = write_start(tmp_path / "start", ["spleen", "liver"])
    recipe = write_recipe(tmp_path, write_manifest(tmp_path, 1), steps=4, start_from=str(start.folder), start_share=0.9,
                          optimiser={"learning_rate": 0.1, "warmup_steps": 0})
    train(load_recipe(recipe), tmp_path / "run", False, "cpu")
    bundle = load_bundle(tmp_path / "run" / "model")
    found = bundle.load_network().state_dict()["head.bias"]
    trained = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)["average"]["head.bias"]
    before = start.load_network().state_dict()["head.bias"]
    names, old = bundle.label_space.names, start.label_space.names
    for label, name in enumerate(names, 1):
        expected = trained[label]
        if name in old:
            assert abs(trained[label] - before[start.label_space.index(name)]) > 0.01, name
            expected = 0.1 * trained[label] + 0.9 * before[start.label_space.index(name)]
        assert found[label].item() == pytest.approx(float(expected), abs=1e-3), name
    assert 0 < len(set(old) & set(names)) < len(names)
