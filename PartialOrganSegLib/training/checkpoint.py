"""A training run's whole state in one file, written whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import torch

from ..atomic import whole_file
from ..errors import Code, UserError
from .best_figures import BestFiguresState
from .loader_processes import tells_of_dead_loader

LAST_FILE = "last.pt"  # what a run is resumed from
Weights = dict[str, torch.Tensor]


class RandomStates(TypedDict):
    """The states of PyTorch's generators; `cuda` has one for each GPU."""

    cpu: torch.Tensor
    cuda: list[torch.Tensor]


class _NewStepParts(TypedDict, total=False):
    """Parts of a step that are missing where the run began with an earlier version."""

    class_confidence: torch.Tensor | None


class TrainingStepState(_NewStepParts):
    """The parts that `TrainingStep` needs to go on.

    `network`, `average`, `snapshot`: the current weights, their moving average and the copy that makes pseudo-labels
    (None without), with its `class_confidence`. `losses` holds dual variables and running means.
    """

    network: Weights
    average: Weights
    snapshot: Weights | None
    # PyTorch's own layout, here and in the next three.
    optimiser: dict[str, Any]
    schedule: dict[str, Any]
    scaler: dict[str, Any]
    losses: dict[str, Any]


class _NewParts(TypedDict, total=False):
    """Parts that are missing where the run began with an earlier version."""

    unmeasured: bool
    stage_done: bool
    hooks: dict[str, dict[str, object]]
    stage_plan: tuple[int, int] | None


class Checkpoint(TrainingStepState, _NewParts):
    """The parts of a checkpoint.

    `step` counts the steps done; `stage` is the number of the stage it is in, which began at `stage_start`. `settings`
    decide the run's numbers and are compared on resuming. `unmeasured`: the last step's measurement was due and broken
    off. `stage_done`: the next stage was not begun. `hooks`: their states, by name. `stage_plan`: see `RunState`.
    """

    step: int
    stage: int
    stage_start: int
    validation: BestFiguresState
    random: RandomStates
    settings: dict[str, object]


def save_checkpoint(path: Path, content: Checkpoint) -> None:
    """Writes `path` whole; an older one stays until then. Raises UserError on a full disk."""
    assert set(content) == Checkpoint.__required_keys__ | Checkpoint.__optional_keys__
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:
        if tells_of_dead_loader(error):  # by chance while the file was written, which is not at fault
            raise
        hint = "make room and start anew, there is no earlier one to resume from"
        if (path.parent / LAST_FILE).exists():
            hint = "make room and go on with --resume from the one before"
        reason = getattr(error, "strerror", None) or error
        raise UserError(code=Code.NOT_WRITABLE, subject=path,
                        found=f"the checkpoint could not be written ({reason})", hint=hint) from None


def load_checkpoint(path: Path) -> Checkpoint:
    """Tensors and plain values only (`weights_only`). Raises UserError when there is no sound checkpoint."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(code=Code.NO_CHECKPOINT, subject=path, expected="a checkpoint to resume from",
                        found="none") from None
    # Whatever a damaged file makes PyTorch raise.
    except Exception as error:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a checkpoint of this program",
                        found="a damaged file, or one of another kind") from error
    parts = set(content) if isinstance(content, dict) else set()
    missing = sorted(Checkpoint.__required_keys__ - parts)
    if missing:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a checkpoint of this program",
                        found=f"none of its {missing[0]}")
    checkpoint: Checkpoint = content
    return checkpoint


def random_states() -> RandomStates:
    """The states of PyTorch's generators; nothing else in the main process draws random numbers."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def set_random_states(states: RandomStates) -> None:
    """Goes back to random states."""
    torch.set_rng_state(states["cpu"])
    # On a machine with other GPUs a run goes on, though not to the same numbers.
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
