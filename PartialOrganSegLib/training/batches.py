"""The mini-batches of a stage: which cases it sees, as what, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import count, islice

import torch

from ..annotation import Kind
from ..errors import Code, UserError
from ..loading.augmentation import Augmentation, IntensityChances
from ..loading.cache import CachedCase
from ..loading.sampling import PatchSampler, as_unlabelled, deals_full
from ..loading.targets import Targets
from ..losses import prior_distribution
from .distributed import Processes
from .loader_processes import loaded_batches
from .recipe import Recipe
from .settings import SamplingSettings, Stage, uses_soft_targets

# Enough for shares of large organs to a per cent; small ones are rarer than that in any case.
DISTRIBUTION_PATCHES = 200


def stage_cases(cases: Sequence[CachedCase], stage: Stage) -> list[CachedCase]:
    """The cases of the kinds a stage uses; those it treats as unlabelled without their annotation. Soft targets are no
    annotation: cases keep them in a stage that has a loss for them.

    Raises UserError when none is left.
    """
    selected = []
    for cached in cases:
        if stage.use is not None and cached.case.kind not in stage.use:
            continue
        if cached.case.kind in stage.treat_as_unlabelled:
            cached = as_unlabelled(cached)
        if not uses_soft_targets(stage):
            cached = replace(cached, soft_targets=None)
        selected.append(cached)
    if not any(cached.case.weight > 0 for cached in selected):
        expected = ", ".join(kind.value for kind in stage.use or []) or "of any sort"
        available = sorted({cached.case.kind.value for cached in cases if cached.case.weight > 0})
        raise UserError(code=Code.NO_CASES, subject=f"stage {stage.name}", found="no case left to train on",
                        hint=f"expected kinds {expected}, found {', '.join(available) or 'none'}")
    return selected


def augmentation(recipe: Recipe) -> Augmentation:
    """How a recipe cuts and changes patches."""
    preprocessing, changes = recipe.preprocessing, recipe.augmentation
    intensity = IntensityChances(changes.blur, changes.thick_slices, changes.contrast, changes.shading, changes.noise)
    return Augmentation(
        preprocessing.patch_zyx, preprocessing.spacing_zyx, preprocessing.clip_hu, preprocessing.subtract,
        preprocessing.divide, rotation=changes.rotation, scale=changes.scale, deformation=changes.deformation,
        hu_scale=changes.hu_scale, hu_shift=changes.hu_shift, strength=changes.strength, shift=changes.shift,
        axis_scale=changes.axis_scale, scale_factors=tuple(changes.scale_factors), intensity=intensity,
        in_plane=changes.in_plane)


def patches(recipe: Recipe, cases: Sequence[CachedCase], stage: Stage, batch: int, length: int) -> PatchSampler:
    """The sampler of a stage; `batch` patches a mini-batch over all processes, `length` patches in the whole run."""
    sampling = stage.sampling
    return PatchSampler(cases, augmentation(recipe), recipe.seed, length, sampling.anywhere, sampling.datasets,
                        sampling.full_share, sampling.foreground, batch, sampling.background)


def batch_numbers(step: int, size: int) -> range:
    """The draws of the whole mini-batch of step `step`, from 0."""
    return range(step * size, (step + 1) * size)


def batches(sampler: PatchSampler, first_step: int, last_step: int, batch_size: int, workers: int,
            processes: Processes) -> AbstractContextManager[Iterator[Targets]]:
    """This process's part of the mini-batches of steps `first_step` to `last_step` - 1, with the images in them, as
    long as a block lasts. Raises UserError as `loaded_batches`.
    """
    start = processes.rank * batch_size
    draws = []
    for step in range(first_step, last_step):
        draws.append(list(batch_numbers(step, sampler.batch)[start:start + batch_size]))
    return loaded_batches(sampler, draws, workers)


def label_distribution(recipe: Recipe, cases: Sequence[CachedCase], stage: Stage, batch: int,
                       table: torch.Tensor) -> list[float] | None:
    """q (C,): the share of each class in the fully labelled cases (Zhou 2019, section 3.2); None without such a case.

    Counted over patches drawn as the stage draws them, `batch` a mini-batch, not over whole volumes: predictions are
    compared with it patch by patch, and patches centred on organs hold more of them.
    """
    # Soft targets would cost loading and say nothing of the shares.
    full = [replace(cached, soft_targets=None) for cached in cases if cached.case.kind is Kind.FULL]
    if not any(cached.case.weight > 0 for cached in full):
        return None
    # `full_share` deals patches to full and partial cases, and of these there are only full ones here.
    alone = stage.model_copy(update={"sampling": stage.sampling.model_copy(update={"full_share": None})})
    sampler = patches(recipe, full, alone, batch, DISTRIBUTION_PATCHES)
    numbers = islice(_compared_draws(stage.sampling), DISTRIBUTION_PATCHES)
    drawn = (sampler[number][0].candidate_map.numpy() for number in numbers)
    distribution: list[float] = prior_distribution(drawn, table.cpu().numpy()).tolist()
    return distribution


def _compared_draws(sampling: SamplingSettings) -> Iterator[int]:
    """Numbers of draws at places in the mini-batch where predictions are compared with q: of the other cases, where
    `full_share` deals them out, as the first places alone lie in an organ (`foreground`)."""
    share = sampling.full_share
    for number in count():
        if share is None or not sampling.foreground or not deals_full(number, share):
            yield number
