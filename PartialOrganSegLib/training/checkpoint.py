"""A training run's whole state in one file, written whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..atomic import whole_file
from ..errors import Code, UserError

PARTS = {
    "network", "average", "snapshot",  # weights: current, moving average, pseudo-labelling copy (None without)
    "optimiser", "schedule", "scaler", "losses",  # the last with its dual variables and running means
    "step", "stage", "stage_start",  # steps done; the stage's number and the step it began at
    "validation",  # best figures so far, and how many measurements ago
    "random",  # states of the random generators
    "settings",  # the recipe's, to be compared on resuming
    "unmeasured",  # whether the last step's measurement was due and broken off
}
NEW = {"unmeasured"}  # parts that a run begun before an update lacks


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes `path` whole; an older one stays until then. Raises UserError on a full disk."""
    assert set(state) == PARTS
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:
        raise UserError(code=Code.NOT_WRITABLE, subject=path,
                        found=f"the checkpoint could not be written ({error})",
                        hint="make room and go on with --resume from the one before") from None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Tensors and plain values only (`weights_only`). Raises UserError when there is no sound checkpoint."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(code=Code.NO_CHECKPOINT, subject=path, expected="a checkpoint to resume from",
                        found="none") from None
    except Exception as error:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a checkpoint of this program",
                        found=type(error).__name__) from error
    missing = PARTS - NEW - set(state) if isinstance(state, dict) else PARTS
    if missing:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a checkpoint of this program",
                        found=f"none of its {sorted(missing)[0]}")
    return state


def random_states() -> dict[str, Any]:
    """The states of PyTorch's generators; nothing else in the main process draws random numbers."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def set_random_states(states: dict[str, Any]) -> None:
    """Goes back to random states."""
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
