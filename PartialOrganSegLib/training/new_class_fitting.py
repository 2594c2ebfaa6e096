"""What a run does for classes that its start model lacks: first weights before the first step, shifts after the last.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch

from ..annotation import Kind
from ..loading.cache import CachedCase
from ..organs import LabelSpace
from .batches import patches, stage_cases
from .class_shifts import ClassShifts, fit_shifts
from .new_classes import fit_new_classes
from .recipe import Recipe
from .start import Start, class_layers
from .training_step import TrainingStep


class NewClassFitting:
    """Fits new classes on `new_class_patches` of the recipe's first stage. Without any, or without new classes, nothing
    is fitted."""

    def __init__(self, recipe: Recipe, start: Start, space: LabelSpace, cases: Sequence[CachedCase],
                 training_step: TrainingStep) -> None:
        self._recipe, self._start, self._cases, self._training_step = recipe, start, cases, training_step
        self._layers: list[str] = []
        if recipe.new_class_patches and start.new_classes:
            self._layers = class_layers(start.settings, space)

    def set_first_weights(self) -> None:
        """Gives the network, before the first step, weights by which it tells the new classes apart."""
        if not self._layers:
            return
        recipe, step, stage = self._recipe, self._training_step, self._recipe.resolved_stages()[0]
        count = recipe.new_class_patches
        sampler = patches(recipe, stage_cases(self._cases, stage), stage, 1, count)
        fit_new_classes(step.network, self._start.new_classes, self._layers,
                        (sampler[number][0] for number in range(count)), step.autocast, step.device)
        step.average.load(step.network.state_dict())

    def shifts(self, weights: Callable[[], Mapping[str, torch.Tensor]], joined: bool) -> ClassShifts | None:
        """How the new classes' logits are to be shifted for the `weights`, which are on the disk; see `fit_shifts`.
        Strokes do not say how large an organ is, so that masks alone count."""
        if not self._layers:
            return None
        # As the cases are: augmented ones are harder, and a class would have to be less sure there.
        recipe = self._recipe.changed(augmentation={"strength": 0.0})
        stage, step = recipe.resolved_stages()[0], self._training_step
        masks = []
        for cached in stage_cases(self._cases, stage):
            if cached.case.kind in (Kind.PARTIAL, Kind.FULL) and cached.case.weight > 0:
                masks.append(cached)
        if not masks:
            return None
        sampler = patches(recipe, masks, stage, 1, recipe.new_class_patches)
        network = copy.deepcopy(step.network)
        network.load_state_dict(weights())
        drawn = ((sampler.draw(number)[0], sampler[number][0]) for number in range(recipe.new_class_patches))
        return fit_shifts(network, self._start.new_classes, self._layers, drawn, step.autocast, step.device, joined)
