"""What is optimised and how: the network's trained parameters downhill, the losses' dual variables uphill."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import nn

from ..errors import UserError, nearest
from .settings import OptimiserSettings

OPTIMISERS = {
    "adamw": lambda groups, settings: torch.optim.AdamW(groups, weight_decay=settings.weight_decay),
    "adam": lambda groups, settings: torch.optim.Adam(groups, weight_decay=settings.weight_decay),
    "sgd": lambda groups, settings: torch.optim.SGD(groups, weight_decay=settings.weight_decay,
                                                    momentum=settings.momentum, nesterov=settings.momentum > 0),
    "rmsprop": lambda groups, settings: torch.optim.RMSprop(groups, weight_decay=settings.weight_decay,
                                                            momentum=settings.momentum),
}


def train_only(network: nn.Module, pattern: str | None) -> list[nn.Parameter]:
    """Freezes every parameter whose name `pattern` is not found in, and gives the others; None: all are trained.

    Layers of which nothing is trained keep their statistics too (batch norm in eval mode).
    Raises UserError when no name fits.
    """
    network.train()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(pattern is None or re.search(pattern, name) is not None)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trained:
        prefixes = sorted({name.rpartition(".")[0] for name, _ in network.named_parameters()})
        raise UserError(f"train_parameters: expected a pattern found in names such as {', '.join(prefixes[:5])}, "
                        f"found '{pattern}'{nearest(str(pattern), prefixes)}")
    for layer in network.modules():
        own = list(layer.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            layer.training = False
    return trained


def build_optimiser(settings: OptimiserSettings, trained: Iterable[nn.Parameter],
                    duals: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of a stage. Each group remembers its own rate as `base_lr`; schedules multiply that."""
    groups = [{"params": list(trained), "base_lr": settings.learning_rate}]
    duals = list(duals)
    if duals:
        groups.append({"params": duals, "base_lr": settings.dual_learning_rate, "maximize": True, "weight_decay": 0.0})
    optimiser = OPTIMISERS[settings.name](groups, settings)
    set_rates(optimiser, 1.0)
    return optimiser


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Every group's learning rate becomes `factor` times its own."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor
