"""The shift of a new class's logit: the one that gives the best Dice on the cases learnt from, and nothing else."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn

from PartialOrganSegLib.loading.targets import Targets
from PartialOrganSegLib.training.class_shifts import SHIFTS, fit_shifts
from Testing.training.test_new_classes import CLASSES, CPU, NEW, SETS, class_layers_of, network_of


def margins_of(logits: torch.Tensor, joined: bool) -> torch.Tensor:
    """The new class's logit over its rivals."""
    rivals = torch.logsumexp(logits[:, :NEW], 1) if joined else logits[:, :NEW].amax(1)
    return logits[:, NEW] - rivals


def targets_of(network: nn.Module, seed: int, joined: bool) -> Targets:
    """A mask of what the network calls the new class; a quarter of the image is unknown."""
    image = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = network(image)
    codes = torch.where(margins_of(logits, joined) > 0, 2, 3).to(torch.uint8)
    codes[:, :4] = 0
    return Targets(codes, SETS, image)


def shifted(network: nn.Module, shift: float) -> str:
    """Adds to the bias that gives the new class's logit; its name."""
    with torch.no_grad():
        network.get_parameter("head.bias")[NEW] += shift
    return "head.bias"


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("shift", [2.0, -1.0])
def test_a_class_that_is_called_too_often_or_too_seldom_is_shifted_back(shift, joined):
    network = network_of("unet_3d")
    with torch.no_grad():
        margins = margins_of(network(torch.randn(1, 1, 16, 16, 16)), joined)
    # A tenth of the voxels.
    shifted(network, -float(margins.quantile(0.9)))
    patches = [(case, targets_of(network, case, joined)) for case in range(3)]
    bias = shifted(network, shift)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    shifts = fit_shifts(network, [NEW], class_layers_of(network), patches, contextlib.nullcontext, CPU, joined)
    assert shifts is not None
    assert shifts.bias == bias
    assert shifts.of_class == {NEW: -shift}
    after = shifts.added(before)
    assert after[bias][NEW] == before[bias][NEW] - shift
    assert torch.equal(after[bias][:NEW], before[bias][:NEW])
    for key, value in after.items():
        assert torch.equal(value, network.state_dict()[key]) == (key != bias)


def test_the_shift_is_the_first_with_the_best_dice():
    """By hand: half of the class is called from a shift of 0.75 on, or half of it was never that."""
    network = nn.Sequential(nn.Conv3d(1, CLASSES, 1))
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].weight[NEW] = 1
        network[0].bias.zero_()
    sure = torch.full((1, 1, 1, 1, 8), 5.0)
    sure[..., 4:] = -0.6  # called from a shift of 0.75 on
    for large, best in (([2] * 8, 0.75), ([2] * 4 + [3] * 4, None)):
        patches = [(0, Targets(torch.tensor(large, dtype=torch.uint8).view(1, 1, 1, 8), SETS, sure))]
        shifts = fit_shifts(network, [NEW], ["0.weight", "0.bias"], patches, contextlib.nullcontext, CPU, False)
        assert (shifts and shifts.of_class) == (best and {NEW: best})


def test_without_a_voxel_of_the_class_nothing_is_shifted():
    network = network_of("unet_3d")
    targets = targets_of(network, 0, True)
    targets.candidate_map.fill_(3)
    assert fit_shifts(network, [NEW], class_layers_of(network), [(0, targets)], contextlib.nullcontext, CPU,
                      True) is None
    assert 0 in SHIFTS
