"""First weights of classes that the start model lacks: found among the features, and nothing else is touched."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn

from PartialOrganSegLib.loading.targets import Targets
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.training.new_classes import fit_new_classes

CPU = torch.device("cpu")
CLASSES, NEW = 4, 3
ARGUMENTS = {"nnunet_v2": {"features": [6, 8], "kernels": [[3, 3, 3], [3, 3, 3]], "strides": [[1, 1, 1], [2, 2, 2]],
                           "encoder": [1, 1], "decoder": [1], "flips": [True, False, True], "transpose": [1, 2, 0],
                           "more": [0, 1]},
             "unet_3d": {"channels": [6, 8]}}
# 0 may be anything, 1 lies outside, 2 is the new class, 3 is anything else.
SETS = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1], [1, 1, 1, 0]], dtype=torch.bool)


def network_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_network(name, 1, CLASSES, **ARGUMENTS[name]).eval()


def class_layers_of(network: nn.Module) -> list[str]:
    return [name for name, value in network.named_parameters() if len(value) == CLASSES and name.count("norm") == 0]


@torch.no_grad()
def probe(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """What the class layer says of class 1, without the other classes: a direction in the features."""
    return network(image)[:, 1] - network(image)[:, 0]


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_class_that_the_features_know_is_found_and_the_others_stay(name):
    network = network_of(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = [torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    targets = []
    for image in images:
        score = probe(network, image)
        codes = torch.full(score.shape, 3, dtype=torch.uint8)
        codes[score > score.quantile(0.9)] = 2
        codes[:, :4] = 0
        targets.append(Targets(codes, SETS, image))
    fitted = fit_new_classes(network, [NEW], class_layers_of(network), targets[:2], contextlib.nullcontext, CPU)
    assert fitted == [NEW]
    with torch.no_grad():
        predicted = network(images[2]).argmax(1) == NEW
    inside = targets[2].candidate_map == 2
    decided = targets[2].candidate_map != 0
    dice = 2 * (predicted & inside).sum() / ((predicted & decided).sum() + inside.sum())
    assert dice > 0.8
    changed = set()
    for key, value in network.state_dict().items():
        if not torch.equal(value, before[key]):
            changed.add(key)
            assert torch.equal(value[:NEW], before[key][:NEW])
    assert len(changed) == 2  # a layer's weight and bias
    assert not any(module._forward_hooks for module in network.modules())


def test_a_class_without_a_voxel_or_with_nothing_else_stays_as_it_began():
    network = network_of("nnunet_v2")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    image = torch.randn(1, 1, 16, 16, 16)
    for code in (0, 2, 3):
        codes = torch.full((1, 16, 16, 16), code, dtype=torch.uint8)
        targets = [Targets(codes, SETS, image)]
        assert fit_new_classes(network, [NEW], class_layers_of(network), targets, contextlib.nullcontext, CPU) == []
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class Summing(nn.Module):
    """Logits that are more than turned: two layers' sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(1, CLASSES, 1), nn.Conv3d(1, CLASSES, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.first(image) + self.second(image)


@pytest.mark.parametrize("network", [Summing(), build_network("light_unet", 1, CLASSES, channels=[6, 8])],
                         ids=["two layers", "a layer of several voxels"])
def test_a_network_that_is_not_understood_begins_as_before(network):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    codes = torch.full((1, 16, 16, 16), 3, dtype=torch.uint8)
    codes[:, 4] = 2
    targets = [Targets(codes, SETS, torch.randn(1, 1, 16, 16, 16))]
    names = [name for name, _ in network.named_parameters()]
    assert fit_new_classes(network, [NEW], names, targets, contextlib.nullcontext, CPU) == []
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
