"""What a stage minimises: its recipe's losses over all of the network's outputs."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

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
from ..losses.supervision import shared
from ..organs import LabelSpace
from .settings import Stage

T = TypeVar("T")
PRIORS = (Prior, PriorPrimalDual)


def needs_prior(stage: Stage) -> bool:
    """Whether a term compares predictions with the fully labelled cases' label distribution."""
    return any(weight and _is_a(name, PRIORS) for name, weight in stage.losses.items())


def _is_a(name: str, losses: tuple[type, ...]) -> bool:
    """Whether the loss called `name` is one of these, or derived from one. Raises UserError for an unknown name."""
    return issubclass(LOSSES.find(name, "losses"), losses)


class Objective(nn.Module):
    """The weighted losses of a stage. `distribution` (C,) is the prior's q, None without a fully labelled case;
    `teacher`: whether there is a start model; `soft_sets`: the sets of classes that the soft targets of cases stand
    for, None without any. Terms that lack what they need are left out, with a warning.

    With pseudo-labels, the terms that the stage names for them see them and all other terms the annotation; the terms
    of `partial_only` see that of cases without a full label alone. Raises UserError for unknown losses or arguments.
    """

    soft_sets: torch.Tensor

    def __init__(self, stage: Stage, label_space: LabelSpace, distribution: Sequence[float] | None = None,
                 teacher: bool = False, reporter: Reporter | None = None,
                 soft_sets: Sequence[Sequence[int]] | None = None) -> None:
        super().__init__()
        reporter = reporter or Reporter()
        pseudo_names, partial_names = _pseudo_label_losses(stage), _partial_only_losses(stage)
        weights = _usable_weights(stage, distribution is not None, teacher, bool(soft_sets), reporter)
        arguments = _loss_arguments(stage, label_space, distribution)
        # A loss warns of arguments without effect when it is made.
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            on_pseudo_labels, on_annotation = _divided(weights, pseudo_names)
            pseudo_arguments, annotation_arguments = _divided(arguments, pseudo_names)
            on_partial_cases, on_annotation = _divided(on_annotation, partial_names)
            partial_arguments, annotation_arguments = _divided(annotation_arguments, partial_names)
            self.on_annotation = _supervision(stage, on_annotation, annotation_arguments)
            self.on_pseudo_labels = _supervision(stage, on_pseudo_labels, pseudo_arguments)
            self.on_partial_cases = _supervision(stage, on_partial_cases, partial_arguments)
        for warning in raised:
            reporter.warning(Problem(Code.SETTING_IGNORED, found=str(warning.message)))
        parts = (self.on_annotation, self.on_pseudo_labels, self.on_partial_cases)
        self.parts = [part for part in parts if part is not None]
        if not self.parts:
            raise UserError(code=Code.SETTING_MISSING, subject="losses", expected="at least one with a weight above 0",
                            found="none")
        self.needs_teacher = any(isinstance(term, Distillation) for term in self.modules())
        self.needs_soft_targets = any(isinstance(term, SoftTargets) for term in self.modules())
        sets = torch.zeros(len(soft_sets or ()), label_space.class_count, dtype=torch.bool)
        for row, classes in zip(sets, soft_sets or (), strict=True):
            row[list(classes)] = True
        # Not in checkpoints: the cases say it anew.
        self.register_buffer("soft_sets", sets, persistent=False)

    def forward(self, outputs: Sequence[torch.Tensor], targets: Targets,
                pseudo_map: torch.Tensor | None = None) -> tuple[torch.Tensor, dict[str, float]]:
        """The sum, and each term's value on the finest output. `pseudo_map` (B, z, y, x) is the candidate map with
        pseudo-labels.

        Raises UserError for a wrong number of outputs.
        """
        pseudo_targets = partial_targets = targets
        if pseudo_map is not None:
            pseudo_targets = replace(targets, candidate_map=pseudo_map)
        if self.on_partial_cases is not None:
            partial_targets = targets.of_partial_cases()
        total = outputs[0].new_zeros((), dtype=torch.float32)
        terms: dict[str, float] = {}
        sharing: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if self.on_partial_cases is not None and partial_targets is targets:
            # A mini-batch without a full case is the same for losses on all cases and on partial ones: one softmax.
            sharing = shared(outputs[0], targets)
        with sharing:
            for part, part_targets in ((self.on_annotation, targets), (self.on_pseudo_labels, pseudo_targets),
                                       (self.on_partial_cases, partial_targets)):
                if part is None:
                    continue
                try:
                    value, figures = part(outputs, part_targets)
                except ValueError as error:
                    raise UserError(code=Code.VALUE_UNFIT, subject="losses", found=error) from None
                total, terms = total + value, terms | figures
        return total, terms

    def dual_parameters(self) -> list[nn.Parameter]:
        """The dual variables of all terms."""
        parameters = []
        for part in self.parts:
            parameters += part.losses.dual_parameters()
        return parameters


def _pseudo_label_losses(stage: Stage) -> list[str]:
    """The losses that see pseudo-labels. Raises UserError for one that the stage does not have."""
    if stage.pseudo_labels is None:
        return []
    return _names_of_losses(stage, "pseudo_labels.losses", stage.pseudo_labels.losses)


def _partial_only_losses(stage: Stage) -> list[str]:
    """The losses on partial cases alone. Raises UserError for one that the stage lacks or that sees pseudo-labels."""
    names = _names_of_losses(stage, "partial_only", stage.partial_only)
    if stage.pseudo_labels is not None:
        for name in names:
            if name in stage.pseudo_labels.losses:
                raise UserError(code=Code.SETTINGS_CONFLICT, subject="partial_only",
                                expected="losses that see no pseudo-labels", found=f"'{name}'")
    return names


def _names_of_losses(stage: Stage, setting: str, names: Sequence[str]) -> list[str]:
    for name in names:
        if name not in stage.losses:
            raise UserError(code=Code.UNKNOWN_NAME, subject=setting,
                            expected=f"names among losses ({', '.join(stage.losses)})", found=f"'{name}'",
                            hint=did_you_mean(name, stage.losses))
    return list(names)


def _usable_weights(stage: Stage, distribution: bool, teacher: bool, soft_targets: bool,
                    reporter: Reporter) -> dict[str, float]:
    """The losses' weights, 0 for those that lack what they need, which is warned of."""
    needs: tuple[tuple[tuple[type, ...], bool, str], ...] = (
        (PRIORS, distribution, "fully labelled case to take the shares from"),
        ((Distillation,), teacher, "start model (start_from) to learn from"),
        ((SoftTargets,), soft_targets, "case with soft_targets in the manifest"))
    weights = dict(stage.losses)
    for kinds, available, lacking in needs:
        for name, weight in stage.losses.items():
            # Shares that the recipe gives need no case to take them from.
            set_by_recipe = kinds is PRIORS and "q" in stage.loss_arguments.get(name, {})
            if weight and not available and not set_by_recipe and _is_a(name, kinds):
                reporter.warning(Problem(Code.SETTING_IGNORED, f"losses.{name}",
                                         found=f"left out, there is no {lacking}"))
                weights[name] = 0.0
    return weights


def _loss_arguments(stage: Stage, label_space: LabelSpace,
                    distribution: Sequence[float] | None) -> dict[str, Mapping[str, object]]:
    """The losses' arguments of the recipe, and for priors what the cases decide; the recipe has the last word."""
    arguments: dict[str, Mapping[str, object]] = dict(stage.loss_arguments)
    if distribution is None:
        return arguments
    for name in stage.losses:
        if _is_a(name, PRIORS):
            from_cases = {"q": list(distribution), "names": ["background", *label_space.names]}
            arguments[name] = {**from_cases, **arguments.get(name, {})}
    return arguments


def _divided(values: Mapping[str, T], names: Collection[str]) -> tuple[dict[str, T], dict[str, T]]:
    """The values of these `names`, and all others."""
    inside = {name: value for name, value in values.items() if name in names}
    outside = {name: value for name, value in values.items() if name not in names}
    return inside, outside


def _supervision(stage: Stage, weights: Mapping[str, float],
                 arguments: Mapping[str, Mapping[str, object]]) -> DeepSupervision | None:
    """The losses with these `weights` over all outputs; None where none has any."""
    if not any(weights.values()):
        return None
    losses = WeightedLosses(weights, arguments)
    return DeepSupervision(losses, stage.deep_supervision.weights, stage.deep_supervision.pooled)
