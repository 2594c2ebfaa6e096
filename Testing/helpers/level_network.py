"""A small network whose answer can be set by hand and that learns in a few steps: which HU belong to which class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from PartialOrganSegLib.models.bundle import Bundle, Preprocessing
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import label_space_of_names
from Testing.helpers.finetune_data import LICENCES
from Testing.helpers.training_data import HU

NAME = "Testing.helpers.level_network:Levels"  # a network of another package is named so
# At its level an organ's logit is 12, far from it -12: sure either way, and not so sure that nothing can be learnt.
HEIGHT, BIAS = 24.0, -12.0  # of a known organ's logit at its level, the background's being 0


class Levels(torch.nn.Module):
    """Logits linear in `exp(-(x - level)^2 / (2 width^2))` of fixed levels; x is the voxel's network input."""

    size_multiple = (2, 4, 4)

    def __init__(self, in_channels: int, classes: int, levels: Sequence[float], width: float) -> None:
        super().__init__()
        assert in_channels == 1
        self.register_buffer("levels", torch.tensor(list(levels)).view(1, -1, 1, 1, 1))
        self.width = width
        self.head = torch.nn.Conv3d(len(levels), classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.exp(-((x - self.levels) / self.width) ** 2 / 2))


def level_bundle(folder: Path, name: str, organs: Mapping[str, float], preprocessing: Preprocessing,
                 width_hu: float = 40.0) -> Bundle:
    """A bundle that sees an organ where HU lie near `organs[name]`; it can learn all levels of `training_data.HU`."""
    all_levels = sorted({*organs.values(), *HU.values()})
    arguments = {"levels": [(hu - preprocessing.subtract) / preprocessing.divide for hu in all_levels],
                 "width": width_hu / preprocessing.divide}
    space = label_space_of_names(name, organs)
    network = build_network(NAME, 1, space.class_count, **arguments)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.fill_(BIAS)
        network.head.bias[0] = 0
        for label, hu in enumerate(organs.values(), 1):
            network.head.weight[label, all_levels.index(hu)] = HEIGHT
    return write_bundle(folder, network, NAME, arguments, space, preprocessing, name, "1.2",
                        LICENCES | {"data": f"data of {name}"}, [f"cases of {name}"], {}, f"Model {name}.")
