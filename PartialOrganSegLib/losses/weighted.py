"""The losses of a recipe: named terms, summed with their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from ..errors import UserError, nearest
from .crf import WindowedCRF
from .distillation import Distillation
from .entropy import Entropy
from .exclusion import ExclusionCrossEntropy, ExclusionDice
from .intensity import IntensityVariance
from .marginal import MarginalCrossEntropy, MarginalDice
from .prior import Prior, PriorPrimalDual
from .soft_targets import SoftTargets
from .supervision import Supervision
from .target_adaptive import TargetAdaptive

LOSSES: dict[str, Callable[..., nn.Module]] = {
    "marginal_cross_entropy": MarginalCrossEntropy,  # Shi 2021 (5); pCE of Luo 2021 on scribbles
    "marginal_dice": MarginalDice,                   # Shi 2021 (6)
    "target_adaptive": TargetAdaptive,               # Fang 2020 (8)
    "exclusion_dice": ExclusionDice,                 # Shi 2021 (10)
    "exclusion_cross_entropy": ExclusionCrossEntropy,  # Shi 2021 (11), eps = 1
    "prior": Prior,                                  # Zhou 2019 (2)
    "prior_primal_dual": PriorPrimalDual,            # Zhou 2019 (9)
    "entropy": Entropy,                              # Luo 2021 (2)
    "intensity": IntensityVariance,                  # Luo 2021, printed code, (3) and (4)
    "crf": WindowedCRF,                              # Tang 2018, windowed
    "distillation": Distillation,                    # Hinton 2015, on candidate sets
    "soft_targets": SoftTargets,                     # Hinton 2015, a foreign teacher's classes as sets of ours
}


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
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        return total, {name: float(value.detach()) for name, value in values.items()}

    def dual_parameters(self) -> list[nn.Parameter]:
        """The dual variables of all terms: they ascend, with their own learning rate."""
        return [parameter for term in self.terms.values() if getattr(term, "dual", False)
                for parameter in term.parameters()]


def _build(name: str, arguments: Mapping[str, object]) -> nn.Module:
    try:
        return LOSSES[name](**arguments)
    except TypeError as error:
        raise UserError(f"loss_arguments: {name}: {error}") from None
