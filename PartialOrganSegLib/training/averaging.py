"""The exponential moving average of a network's weights: smoother than the weights of any one step, and what is
shipped."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

YOUNG_STEPS = 10


class MovingAverage:
    """`decay` times the average plus `1 - decay` times the weights, every step; counters (batch norm's) are copied."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Takes in the weights after `step` steps."""
        # Early on the average forgets faster, or it would remember the random start.
        decay = min(self.decay, step / (step + YOUNG_STEPS))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, 1 - decay)
            else:
                self.values[name].copy_(value)

    def load(self, values: Mapping[str, torch.Tensor]) -> None:
        """Goes back to a checkpoint's values."""
        for name, value in values.items():
            self.values[name].copy_(value)
