"""Hooks: objects that look on at a run, step by step, and can ask it to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from ..registry import Registry, make_entry
from .distributed import Processes


class RunView(Protocol):
    """What a hook is promised of the trainer that calls it. The object itself is the `training.trainer.Trainer`, which
    has more: recipe, cases, state."""

    folder: Path
    device: torch.device
    processes: Processes

    @property
    def network(self) -> nn.Module:
        """The network that is trained."""

    @property
    def step(self) -> int:
        """How many steps of the run are done."""

    @property
    def stage_count(self) -> int:
        """How many stages the recipe has."""

    def stop(self) -> None:
        """Ends the run after this step: the checkpoint is written, then KeyboardInterrupt raised."""

    def plan_stage(self, steps: int, next_measurement: int) -> None:
        """The stage is to have so many steps, at most the recipe's, and Dice is measured after this one of them and
        after the last. Later calls change it; it lies in the checkpoint."""


@dataclass(frozen=True)
class StepReport:
    """What a step came to: `step` counts from 1 over all stages, `stage` is the stage's name.

    `figures`: the loss, each of its terms, the gradient's norm and the learning rate. Of its `seconds` the step waited
    `waiting_seconds` for its data. `processor_seconds` is what this process' threads computed meanwhile, which other
    programs on the machine do not lengthen.
    """

    step: int
    stage: str
    figures: Mapping[str, float]
    seconds: float
    waiting_seconds: float
    processor_seconds: float = 0.0


class Hook:
    """Override what you need; a recipe names it under `hooks` as `my_package.module:MyHook` with its arguments, or pass
    an object to `training.trainer.Trainer(hooks=[...])`.

    A hook may read all of the trainer (`trainer.network`, `trainer.step`, `trainer.folder`) and call `trainer.stop()`.
    It runs in every process; with several, only the one with `trainer.processes.first` should write files.
    """

    def on_start(self, trainer: RunView) -> None:
        """Before anything else of the run, or of what is left of a resumed one."""

    def on_step(self, trainer: RunView, report: StepReport) -> None:
        """After a step, before validation and checkpoint."""

    def on_validation(self, trainer: RunView, figures: Mapping[str, float]) -> None:
        """After a measurement: Dice per organ, and "mean". Before the first step those of the start model."""

    def allows_trial(self, trainer: RunView) -> bool:
        """Before the last weights are measured once more, with another share of the start model: whether to."""
        return True

    def on_checkpoint(self, trainer: RunView, path: Path) -> None:
        """After a checkpoint was written to `path` (last.pt or best.pt), in the process that wrote it."""

    def state_dict(self) -> dict[str, object]:
        """What `load_state_dict` needs to go on, in tensors and plain values: it lies in the checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Goes back to a state."""


HOOKS: Registry[type[Hook]] = Registry("hook", group="partialorganseg.hooks", base=Hook)


def named_hooks(settings: Mapping[str, Mapping[str, object]], hooks: Sequence[Hook]) -> dict[str, Hook]:
    """A recipe's hooks, in `settings` by name with their arguments, and the objects `hooks`, by the names under which a
    checkpoint has their states. Raises UserError for unknown names and arguments."""
    named = {name: make_entry(HOOKS.find(name, "hooks"), f"hooks: {name}", arguments)
             for name, arguments in settings.items()}
    for hook in hooks:
        class_name = f"{type(hook).__module__}:{type(hook).__qualname__}"
        name, number = class_name, 1
        while name in named:
            number += 1
            name = f"{class_name} {number}"
        named[name] = hook
    return named
