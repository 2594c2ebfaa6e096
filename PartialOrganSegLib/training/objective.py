"""What a stage minimises: its recipe's losses over all of the network's outputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from ..errors import Code, Problem, UserError, did_you_mean
from ..events import Reporter
from ..losses import (
    LOSSES,
    DeepSupervision,
    Distillation,
    Prior,
    PriorPrimalDual,
    SoftTargets,
    Targets,
    WeightedLosses,
)
from ..organs import LabelSpace
from .settings import Stage

PRIORS = (Prior, PriorPrimalDual)


def needs_prior(stage: Stage) -> bool:
    """Whether a term compares predictions with the fully labelled cases' label distribution."""
    return any(weight and _is_a(name, PRIORS) for name, weight in stage.losses.items())


def _is_a(name: str, losses: tuple[type, ...]) -> bool:
    """Whether the loss called `name` is one of these, or derived from one. Raises UserError for an unknown name."""
    return issubclass(LOSSES.find(name, "losses"), losses)


class Objective(nn.Module):
    """The weighted losses of a stage. `distribution` (C,) is the prior's q, None without a fully labelled case;
    `teacher`: whether there is a start model; `soft_sets`: the sets of classes that the soft targets of cases speak of,
    None without any. Terms that lack what they need are left out, and that told.

    With pseudo-labels, the terms named there see them and the others the annotation.
    Raises UserError for unknown losses or arguments.
    """

    def __init__(self, stage: Stage, label_space: LabelSpace, distribution: Sequence[float] | None = None,
                 teacher: bool = False, reporter: Reporter | None = None,
                 soft_sets: Sequence[Sequence[int]] | None = None) -> None:
        super().__init__()
        reporter = reporter or Reporter()
        arguments: dict[str, Mapping[str, object]] = dict(stage.loss_arguments)
        losses = dict(stage.losses)
        for kinds, there, lacking in ((PRIORS, distribution is not None, "fully labelled case to take the shares from"),
                                      ((Distillation,), teacher, "start model (start_from) to learn from"),
                                      ((SoftTargets,), bool(soft_sets), "case with soft_targets in the manifest")):
            for name in [name for name, weight in losses.items() if weight and _is_a(name, kinds) and not there]:
                reporter.warning(Problem(Code.SETTING_IGNORED, f"losses.{name}",
                                         found=f"left out, there is no {lacking}"))
                losses[name] = 0.0
        if distribution is not None:
            for name in stage.losses:
                if _is_a(name, PRIORS):
                    arguments[name] = {"q": list(distribution), "names": ["background", *label_space.names],
                                       **arguments.get(name, {})}
        pseudo = [] if stage.pseudo_labels is None else stage.pseudo_labels.losses
        unknown = [name for name in pseudo if name not in stage.losses]
        if unknown:
            raise UserError(code=Code.UNKNOWN_NAME, subject="pseudo_labels.losses",
                            expected=f"names among losses ({', '.join(stage.losses)})", found=f"'{unknown[0]}'",
                            hint=did_you_mean(unknown[0], stage.losses))

        def part(wanted: Callable[[str], bool]) -> DeepSupervision | None:
            terms = {name: weight for name, weight in losses.items() if wanted(name)}
            if pseudo and not any(terms.values()):
                return None
            weighted = WeightedLosses(terms, {name: value for name, value in arguments.items() if wanted(name)})
            return DeepSupervision(weighted, stage.deep_supervision.weights, stage.deep_supervision.pooled)

        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            self.on_annotation = part(lambda name: name not in pseudo)
            self.on_pseudo_labels = part(lambda name: name in pseudo) if pseudo else None
        for warning in told:
            reporter.warning(Problem(Code.SETTING_IGNORED, found=str(warning.message)))
        self.parts = [made for made in (self.on_annotation, self.on_pseudo_labels) if made is not None]
        if not self.parts:
            raise UserError(code=Code.SETTING_MISSING, subject="losses", expected="at least one with a weight above 0",
                            found="none")
        self.needs_teacher = any(isinstance(term, Distillation) for term in self.modules())
        self.needs_soft_targets = any(isinstance(term, SoftTargets) for term in self.modules())
        sets = torch.zeros(len(soft_sets or ()), label_space.class_count, dtype=torch.bool)
        for row, classes in zip(sets, soft_sets or (), strict=True):
            row[list(classes)] = True
        self.register_buffer("soft_sets", sets, persistent=False)

    def forward(self, outputs: Sequence[torch.Tensor], targets: Targets,
                pseudo_map: torch.Tensor | None = None) -> tuple[torch.Tensor, dict[str, float]]:
        """The sum, and each term's value on the finest output. `pseudo_map` (B, z, y, x) is the candidate map with
        pseudo-labels.

        Raises UserError for a wrong number of outputs.
        """
        total, terms = outputs[0].new_zeros((), dtype=torch.float32), {}
        pseudo = targets if pseudo_map is None else replace(targets, candidate_map=pseudo_map)
        for part, compared in ((self.on_annotation, targets), (self.on_pseudo_labels, pseudo)):
            if part is not None:
                try:
                    value, figures = part(outputs, compared)
                except ValueError as error:
                    raise UserError(code=Code.VALUE_UNFIT, subject="deep_supervision", found=error) from None
                total, terms = total + value, terms | figures
        return total, terms

    def dual_parameters(self) -> list[nn.Parameter]:
        """The dual variables of all terms."""
        return [parameter for part in self.parts for parameter in part.losses.dual_parameters()]
