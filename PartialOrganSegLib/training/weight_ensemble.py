"""A weight-space ensemble of the start model and the trained one: it keeps more of what the start model knew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class WeightEnsemble:
    """(1 - `alpha`) times the start model's weights plus `alpha` (above 0, at most 1) times the trained ones.

    On the line between the two a network keeps more of what it knew, and gains more on data unlike the trained ones,
    than at its end (WiSE-FT: Wortsman 2022, Robust fine-tuning of zero-shot models, equation 1). `start`: the weights
    that the run began with. The start model knows nothing of `new_classes`: along `class_axes`, those of each tensor
    that count classes, theirs stay as trained.
    """

    start: Mapping[str, torch.Tensor]
    alpha: float
    class_axes: Mapping[str, Sequence[int]]
    new_classes: Sequence[int]

    @classmethod
    def from_start(cls, start: Mapping[str, torch.Tensor], alpha: float, class_axes: Mapping[str, Sequence[int]],
                   new_classes: Sequence[int]) -> WeightEnsemble:
        """With copies of the weights: the network goes on from the tensors that it is given."""
        weights = {name: value.detach().clone() for name, value in start.items()}
        return cls(weights, alpha, class_axes, list(new_classes))

    def with_alpha(self, alpha: float) -> WeightEnsemble:
        """The ensemble with another alpha."""
        return replace(self, alpha=alpha)

    def weights(self, trained: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The weights to measure and to write; counters (batch norm's) are the trained ones."""
        mixed = {}
        for name, value in trained.items():
            if value.is_floating_point():
                value = self._mixed(name, value)
            mixed[name] = value
        return mixed

    def _mixed(self, name: str, trained: torch.Tensor) -> torch.Tensor:
        mixed = trained.lerp(self.start[name].to(trained), 1 - self.alpha)
        if not self.new_classes:
            return mixed
        classes = torch.tensor(self.new_classes, device=trained.device)
        for axis in self.class_axes[name]:
            mixed = mixed.index_copy(axis, classes, trained.index_select(axis, classes))
        return mixed
