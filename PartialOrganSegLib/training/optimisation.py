"""What is optimised and how: the network's trained parameters downhill, the losses' dual variables uphill."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import nn

from ..errors import Code, UserError, did_you_mean
from ..registry import accepted, arguments_of, make_entry
from .optimisers import OPTIMISERS
from .schedules import SCHEDULES, Schedule
from .settings import OptimiserSettings, ScheduleSettings


def train_only(network: nn.Module, pattern: str | None) -> list[nn.Parameter]:
    """Freezes every parameter whose name does not contain `pattern`, and gives the trained ones; None: all are.

    Layers of which nothing is trained keep their statistics too (batch norm in eval mode).
    Raises UserError when no name fits.
    """
    network.train()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(pattern is None or re.search(pattern, name) is not None)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trained:
        prefixes = sorted({name.rpartition(".")[0] for name, _ in network.named_parameters()})
        raise UserError(code=Code.UNKNOWN_NAME, subject="train_parameters",
                        expected=f"a pattern found in names such as {', '.join(prefixes[:5])}", found=f"'{pattern}'",
                        hint=did_you_mean(str(pattern), prefixes))
    for layer in network.modules():
        parameters = list(layer.parameters(recurse=False))
        # Their running statistics would drift away from frozen weights.
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            layer.training = False
    return trained


def build_optimiser(settings: OptimiserSettings, trained: Iterable[nn.Parameter], duals: Iterable[nn.Parameter],
                    of_classes: Collection[nn.Parameter] = ()) -> torch.optim.Optimizer:
    """The optimiser of a stage. Each group remembers its own rate as `base_lr`; schedules multiply that.

    `of_classes`: those of the `trained` parameters that grow with the number of classes.

    Raises UserError for one that cannot maximise where there are `duals`.
    """
    entry = OPTIMISERS.find(settings.name)
    trained, with_class_rate = list(trained), []
    # One group where all have one rate, as in checkpoints up to 0.5.0.
    if settings.class_rate != 1 and of_classes:
        numbers = {id(parameter) for parameter in of_classes}
        with_class_rate = [parameter for parameter in trained if id(parameter) in numbers]
        trained = [parameter for parameter in trained if id(parameter) not in numbers]
    groups: list[dict[str, Any]] = []
    if trained:
        groups.append({"params": trained, "base_lr": settings.learning_rate})
    if with_class_rate:
        groups.append({"params": with_class_rate, "base_lr": settings.learning_rate * settings.class_rate})
    duals = list(duals)
    if duals:
        if "maximize" not in {argument.name for argument in arguments_of(entry)}:
            raise UserError(code=Code.VALUE_UNFIT, subject="optimiser.name",
                            expected="one that can maximise (the argument maximize), for the dual variables of the "
                                     "losses", found=settings.name)
        # The losses are maximised over them (Zhou 2019, Algorithm 1).
        groups.append({"params": duals, "base_lr": settings.dual_learning_rate, "maximize": True, "weight_decay": 0.0})
    values = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay, "momentum": settings.momentum}
    optimiser: torch.optim.Optimizer = make_entry(entry, f"optimiser {settings.name}",
                                                   accepted(entry, values) | settings.arguments, groups)
    set_rates(optimiser, 1.0)
    return optimiser


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Every group's learning rate becomes `factor` times its own."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor


def build_schedule(settings: ScheduleSettings, optimiser: OptimiserSettings, steps: int) -> Schedule:
    """The schedule of a stage of `steps` steps."""
    entry = SCHEDULES.find(settings.name)
    values = settings.model_dump(exclude={"name", "arguments"})
    values |= {"steps": steps, "warmup_steps": optimiser.warmup_steps, "decay_power": optimiser.decay_power}
    return make_entry(entry, f"schedule {settings.name}", accepted(entry, values) | settings.arguments)
