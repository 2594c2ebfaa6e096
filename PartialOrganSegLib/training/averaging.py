"""The moving average of a network's weights: smoother than the weights of any one step, and what is shipped."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

YOUNG_STEPS = 10  # early on the average forgets faster, or it would remember the random start


class MovingAverage:
    """`keep` times the average plus `1 - keep` times the weights, every step; counters are copied."""

    def __init__(self, network: nn.Module, keep: float) -> None:
        self.keep = keep
        self.values = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Takes in the weights after `step` steps."""
        keep = min(self.keep, step / (step + YOUNG_STEPS))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, 1 - keep)
            else:
                self.values[name].copy_(value)

    def load(self, values: Mapping[str, torch.Tensor]) -> None:
        """Goes back to a checkpoint's values."""
        for name, value in values.items():
            self.values[name].copy_(value)


def mixed(weights: Mapping[str, torch.Tensor], start: Mapping[str, torch.Tensor],
          start_share: float) -> dict[str, torch.Tensor]:
    """`start_share` times the start model's weights plus the rest times the trained ones; counters are the trained.

    On the line between the two a network keeps more of what it knew, and gains more on other data than that which it
    was trained on, than at its end (Wortsman 2022, Robust fine-tuning of zero-shot models, equation 1).
    """
    return {name: value.lerp(start[name], start_share) if value.is_floating_point() else value
            for name, value in weights.items()}
