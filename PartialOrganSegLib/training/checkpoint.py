"""A training run's whole state in one file, written whole: network, moving average, optimiser and step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..atomic import whole_file
from ..errors import UserError

PARTS = {"network", "average", "optimiser", "step", "settings", "torch_random"}


def save_checkpoint(path: Path, network: nn.Module, average: dict[str, torch.Tensor],
                    optimiser: torch.optim.Optimizer, step: int, settings: dict[str, Any]) -> None:
    """Writes `path` whole. `settings` are the recipe's, to be compared on resuming. Raises UserError on a full disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"network": network.state_dict(), "average": average, "optimiser": optimiser.state_dict(),
             "step": step, "settings": settings, "torch_random": torch.get_rng_state()}
    try:
        with whole_file(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: the checkpoint could not be written ({error})") from None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Tensors and plain values only (`weights_only`). Raises UserError when there is no sound checkpoint."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: expected a checkpoint to resume from, found none") from None
    except Exception as error:
        raise UserError(f"{path}: expected a checkpoint of this program, found {type(error).__name__}") from error
    missing = PARTS - set(state) if isinstance(state, dict) else PARTS
    if missing:
        raise UserError(f"{path}: expected a checkpoint of this program, found none of its {sorted(missing)[0]}")
    return state
