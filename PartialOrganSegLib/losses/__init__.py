"""Losses by name. Each takes a `Supervision` batch and gives a scalar; a new one is a file and a line in `LOSSES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from ..errors import UserError, nearest
from .marginal import MarginalCrossEntropy, MarginalDice
from .supervision import Supervision

LOSSES: dict[str, Callable[..., nn.Module]] = {
    "marginal_cross_entropy": MarginalCrossEntropy,
    "marginal_dice": MarginalDice,
}

__all__ = ["LOSSES", "MarginalCrossEntropy", "MarginalDice", "Supervision", "WeightedLosses"]


class WeightedLosses(nn.Module):
    """Weighted sum of named losses. A term of weight 0 is never built, so it costs nothing."""

    def __init__(self, terms: Mapping[str, float], arguments: Mapping[str, Mapping[str, object]] | None = None) -> None:
        super().__init__()
        for name in terms:
            if name not in LOSSES:
                raise UserError(f"losses: expected one of {', '.join(LOSSES)}, found '{name}'{nearest(name, LOSSES)}")
        if not any(terms.values()):
            raise UserError("losses: expected at least one with a weight above 0, found none")
        unused = set(arguments or {}) - set(terms)
        if unused:
            raise UserError(f"loss_arguments: expected names among losses ({', '.join(terms)}), found "
                            f"'{sorted(unused)[0]}'")
        self.weights = {name: weight for name, weight in terms.items() if weight}
        self.terms = nn.ModuleDict({name: _build(name, (arguments or {}).get(name, {})) for name in self.weights})

    def forward(self, batch: Supervision) -> tuple[torch.Tensor, dict[str, float]]:
        """The sum, and each term's unweighted value for the log."""
        values = {name: term(batch) for name, term in self.terms.items()}
        total = sum((self.weights[name] * value for name, value in values.items()), batch.zero)
        return total, {name: float(value.detach()) for name, value in values.items()}


def _build(name: str, arguments: Mapping[str, object]) -> nn.Module:
    try:
        return LOSSES[name](**arguments)
    except TypeError as error:
        raise UserError(f"loss_arguments: {name}: {error}") from None
