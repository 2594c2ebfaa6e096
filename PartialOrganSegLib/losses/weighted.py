"""The losses of a recipe: named terms, summed with their weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import torch
from torch import nn

from ..errors import Code, UserError
from ..loading.targets import Targets
from ..registry import check_arguments, make_entry
from .registry import LOSSES
from .supervision import shared


class WeightedLosses(nn.Module):
    """Weighted sum of named losses. A term of weight 0 is never built, so it costs nothing."""

    def __init__(self, terms: Mapping[str, float], arguments: Mapping[str, Mapping[str, object]] | None = None) -> None:
        super().__init__()
        for name in terms:
            LOSSES.find(name, "losses")
        if not any(terms.values()):
            raise UserError(code=Code.SETTING_MISSING, subject="losses", expected="at least one with a weight above 0",
                            found="none")
        unused = set(arguments or {}) - set(terms)
        if unused:
            raise UserError(code=Code.UNKNOWN_NAME, subject="loss_arguments",
                            expected=f"names among losses ({', '.join(terms)})", found=f"'{sorted(unused)[0]}'")
        self.weights = {name: weight for name, weight in terms.items() if weight}
        self.terms = nn.ModuleDict()
        for name in self.weights:
            self.terms[_module_name(name)] = _build(name, (arguments or {}).get(name, {}))

    def forward(self, logits: torch.Tensor, targets: Targets) -> tuple[torch.Tensor, dict[str, float]]:
        """The sum, and for the log each term's unweighted value and further `figures` that a term has of itself, as
        NAME_FIGURE."""
        # Softmax and sums over voxels are most of the cost, and most losses need the same ones.
        with shared(logits, targets):
            values = {name: self.terms[_module_name(name)](logits, targets) for name in self.weights}
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        figures: dict[str, float] = {}
        for name, value in values.items():
            figures[name] = float(value.detach())
            for key, figure in getattr(self.terms[_module_name(name)], "figures", {}).items():
                figures[f"{name}_{key}"] = figure
        return total, figures

    def dual_parameters(self) -> list[nn.Parameter]:
        """The dual variables of all terms: they ascend, with their own learning rate."""
        # A loss of another package need only say `dual = True`.
        parameters: list[nn.Parameter] = []
        for term in self.terms.values():
            if getattr(term, "dual", False):
                parameters += term.parameters()
        return parameters


def _module_name(name: str) -> str:
    """A loss's name as that of a submodule, which must not have a dot in it: `my_package.module:Class`."""
    return name.replace(".", "/")


def _build(name: str, arguments: Mapping[str, object]) -> nn.Module:
    entry = LOSSES.find(name, "losses")
    check_arguments(entry, arguments, f"loss_arguments: {name}")
    loss = make_entry(entry, f"loss_arguments: {name}", arguments)
    signature = inspect.signature(loss.forward)
    try:
        signature.bind(None, None)
    except TypeError:
        # Up to 0.4.0 losses were called with one object for both.
        raise UserError(code=Code.VALUE_UNFIT, subject=f"losses: {name}", expected="forward(logits, targets)",
                        found=f"forward({', '.join(signature.parameters)})") from None
    return loss
