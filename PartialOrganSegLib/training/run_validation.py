"""The Dice of a run's weights as they would be written: before the first step, on the way, and to decide in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from ..events import Reporter
from .best_figures import BestFigures
from .checkpoint import Weights
from .distributed import Processes
from .evaluator import Evaluator
from .frozen_members import Division
from .hand_over import HandOver
from .interrupts import InterruptibleReporter
from .overlaps import Measurement
from .recipe import Recipe
from .result_model import Log, ResultModel
from .settings import ValidationSettings
from .training_step import TrainingStep


class RunValidation:
    """Measures the moving average of the weights that `training_step` learns, as the model `result` would have them.

    `evaluator` is None where a run has no cases for it: then nothing may be measured. `stop_signals`: those that came
    so far, which break off a measurement by KeyboardInterrupt after the case it is at.
    """

    def __init__(self, recipe: Recipe, evaluator: Evaluator | None, training_step: TrainingStep, hand_over: HandOver,
                 result: ResultModel, processes: Processes, stop_signals: list[int], reporter: Reporter) -> None:
        self.settings = recipe.validation or ValidationSettings()
        self._evaluator, self._training_step, self._result = evaluator, training_step, result
        self._hand_over, self._reporter = hand_over, reporter
        # Of several processes none may leave the others waiting.
        if processes.size == 1:
            self._reporter = InterruptibleReporter(reporter, stop_signals)

    def no_best(self, before: dict[str, float] | None = None) -> BestFigures:
        """Best figures without a measurement but that `before` the first step."""
        settings = self.settings
        return BestFigures(before=before or {}, half=tuple(settings.half), tolerated_loss=settings.tolerated_loss,
                           retained=tuple(self._hand_over.taken_over), ignored=tuple(settings.ignored))

    def measure_start(self) -> Measurement:
        """Of the start model, whose networks have the say of the organs that they had it of."""
        return self._measure_average(self._hand_over.before)

    def measure(self) -> Measurement:
        """Of the model that would be written at this moment."""
        return self._measure_average(self._hand_over.division)

    def decide_result(self, best: BestFigures, average: Callable[[], Weights], log: Log,
                      may_go_on: Callable[[], bool]) -> None:
        """What is left open when all stages are done: how much of the start model is in the result, and which organs
        go back to the frozen members. `average` gives the best weights, which are on the disk; `may_go_on` is asked
        before each trial, and may raise.
        """
        if self._evaluator is None or not best.figures:
            return
        if not self.settings.alphas and not self._hand_over.taken_over and self._result.shifts is None:
            return

        def measure(weights: Mapping[str, torch.Tensor]) -> Measurement:
            return self._measure(weights, self._hand_over.division)

        best_average = average()
        self._result.keep_better_shifts(best, best_average, measure, log)
        self._result.choose_alpha(self.settings.alphas, best, best_average, measure, log, may_go_on)
        if self._hand_over.taken_over:
            self._result.give_back(best, best_average, measure, log)

    def _measure_average(self, division: Division | None) -> Measurement:
        return self._measure(self._result.weights(self._training_step.average.values), division)

    def _measure(self, weights: Mapping[str, torch.Tensor], division: Division | None) -> Measurement:
        assert self._evaluator is not None
        return self._evaluator.measure(self._training_step.network, weights, self._reporter, division)
