"""A share of the start model in what a run gives: on the way between the two a network keeps more of what it knew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class StartShare:
    """`share` (0 to 1) times the start model's weights plus the rest times the trained ones.

    On the line between the two a network keeps more of what it knew, and gains more on data unlike the trained ones,
    than at its end (Wortsman 2022, Robust fine-tuning of zero-shot models, equation 1). `start`: the weights that the
    run began with. The start model has nothing to say of `new` classes: along `axes`, those of each tensor that count
    classes, theirs stay as trained.
    """

    start: Mapping[str, torch.Tensor]
    share: float
    axes: Mapping[str, Sequence[int]]
    new: Sequence[int]

    @classmethod
    def of(cls, start: Mapping[str, torch.Tensor], share: float, axes: Mapping[str, Sequence[int]],
           new: Sequence[int]) -> StartShare:
        """With the weights as they are now, whatever becomes of these tensors."""
        return cls({name: value.detach().clone() for name, value in start.items()}, share, axes, list(new))

    def with_share(self, share: float) -> StartShare:
        """The same of another share."""
        return replace(self, share=share)

    def mix(self, trained: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The weights to measure and to write; counters are the trained ones."""
        return {name: self._mixed(name, value) if value.is_floating_point() else value
                for name, value in trained.items()}

    def _mixed(self, name: str, trained: torch.Tensor) -> torch.Tensor:
        found = trained.lerp(self.start[name].to(trained), self.share)
        for axis in self.axes[name] if self.new else ():
            rows = torch.tensor(self.new, device=trained.device)
            found = found.index_copy(axis, rows, trained.index_select(axis, rows))
        return found
