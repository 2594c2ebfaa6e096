"""What would end a run in a later stage, days after it began, is told before its first step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..annotation import Kind
from ..errors import Code, UserError
from ..losses import WindowedCRF
from ..networks import build_network, set_phase
from ..organs import LabelSpace
from .batches import patches, stage_cases
from .cases import Cases
from .objective import Objective
from .optimisation import build_optimiser, build_schedule, train_only
from .recipe import Recipe
from .settings import NetworkSettings, Stage
from .start import Start


def check_losses(stages: Sequence[Stage], space: LabelSpace) -> None:
    """Raises UserError for wrong settings of losses, before any case is read, which may take minutes."""
    for stage in stages:
        try:
            _objective(stage, space)
        except UserError as error:
            raise _told_of(stage, stages, error) from None


def check_network(recipe: Recipe, stages: Sequence[Stage], settings: NetworkSettings, space: LabelSpace) -> None:
    """Raises UserError for a phase, trained parameters, an optimiser, a schedule or weights of deep supervision that
    do not fit the network, for a patch that it cannot be trained on, and for losses of another number of axes."""
    network = _without_memory(settings, space)
    if network is None:
        return
    for stage in stages:
        try:
            _check_stage(network, recipe, stage, space)
        except UserError as error:
            raise _told_of(stage, stages, error) from None


def check_cases(recipe: Recipe, stages: Sequence[Stage], cases: Cases, start: Start, space: LabelSpace,
                batch: int) -> None:
    """Raises UserError for a stage that has no case, or too few kinds of them, or no loss that it could take; `batch`
    patches a mini-batch."""
    shares = None
    if any(cached.case.kind is Kind.FULL and cached.case.weight > 0 for cached in cases.training):
        shares = _even(space)
    for stage in stages:
        selected = stage_cases(cases.training, stage)
        try:
            patches(recipe, selected, stage, batch, 0)
            Objective(stage, space, shares, start.teacher is not None, soft_sets=cases.soft_sets)
        except UserError as error:
            raise _told_of(stage, stages, error) from None


def _check_stage(network: nn.Module, recipe: Recipe, stage: Stage, space: LabelSpace) -> None:
    if stage.phase is not None:
        set_phase(network, stage.phase)
    trained = train_only(network, stage.train_parameters)
    objective = _objective(stage, space)
    for term in objective.modules():
        if isinstance(term, WindowedCRF):
            term.check_axes(len(recipe.preprocessing.patch_zyx))
    build_optimiser(stage.optimiser, trained, objective.dual_parameters())
    build_schedule(stage.schedule, stage.optimiser, stage.steps)
    weights, outputs = stage.deep_supervision.weights, _outputs(network, recipe)
    if weights is not None and outputs is not None and len(weights) != outputs:
        raise UserError(code=Code.VALUE_UNFIT, subject="deep_supervision.weights",
                        expected=f"{outputs} weights, one for each output", found=len(weights))


def _objective(stage: Stage, space: LabelSpace) -> Objective:
    """With all that losses may need of cases and start model."""
    return Objective(stage, space, _even(space), teacher=True, soft_sets=[range(space.class_count)])


def _even(space: LabelSpace) -> list[float]:
    return [1.0] * space.class_count


def _without_memory(settings: NetworkSettings, space: LabelSpace) -> nn.Module | None:
    """The network on the device "meta", where it has shapes and computes nothing; None for one that cannot be there."""
    try:
        # The seeds of the training stay where they are.
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return build_network(settings.name, 1, space.class_count, **settings.arguments)
    # Whatever a network of another package raises that computes while it is made.
    except Exception:
        return None


def _outputs(network: nn.Module, recipe: Recipe) -> int | None:
    """How many outputs the network has in training; None for one of another package that needs values, not shapes.

    Raises UserError for a patch that it takes when it segments, but cannot be trained on.
    """
    patch = recipe.preprocessing.patch_zyx
    image = torch.empty(recipe.batch_size, 1, *patch, device="meta")
    try:
        outputs = network(image)
    except ValueError as error:
        raise UserError(code=Code.VALUE_UNFIT, subject="preprocessing.patch_zyx",
                        expected="a patch that the network can be trained on",
                        found=f"{patch} in a batch of {recipe.batch_size} ({error})") from None
    # Whatever else is of this device: where values are computed, the first step would tell.
    except Exception:
        return None
    return 1 if isinstance(outputs, torch.Tensor) else len(outputs)


def _told_of(stage: Stage, stages: Sequence[Stage], error: UserError) -> UserError:
    """The error with the stage's name, where there are several."""
    return error.within(f"stage {stage.name}") if len(stages) > 1 else error
