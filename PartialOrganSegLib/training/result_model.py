"""The model that a run writes: which weights, of how much of the start model, and who has the say of which organ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from ..organs import LabelSpace
from .best_figures import MEAN, BestFigures
from .checkpoint import Weights
from .class_shifts import ClassShifts
from .hand_over import HandOver
from .overlaps import Measurement
from .recipe import Recipe
from .start import Start

# Of weights the Dice per organ and "mean", and what they are made of.
Measure = Callable[[Mapping[str, torch.Tensor]], Measurement]
Log = Callable[[dict[str, object]], None]


class ResultModel:
    """The model that would be written at this moment; `keep_better_shifts`, `choose_alpha` and `give_back` decide what
    is left open. `shifts`: of the new classes' logits, once these are known."""

    def __init__(self, recipe: Recipe, start: Start, hand_over: HandOver, space: LabelSpace) -> None:
        self._recipe, self._start, self._hand_over, self._space = recipe, start, hand_over, space
        self.ensemble = start.ensemble
        self.shifts: ClassShifts | None = None

    def weights(self, average: Weights) -> Mapping[str, torch.Tensor]:
        """Of the moving `average` of the trained weights those to measure and to write."""
        return self._shifted(average if self.ensemble is None else self.ensemble.weights(average))

    def _shifted(self, weights: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        return weights if self.shifts is None else self.shifts.added(weights)

    def keep_better_shifts(self, best: BestFigures, average: Weights, measure: Measure, log: Log) -> None:
        """Drops the shifts again where the best weights measure no better with them."""
        if self.shifts is None:
            return
        measurement = measure(self.weights(average))
        log({"shifts": ", ".join(f"{self._space.names[label - 1]} {shift:+g}"
                                 for label, shift in self.shifts.of_class.items()),
             "mean_dice": round(measurement.dice.get(MEAN, 0.0), 4)})
        if not best.update(measurement.dice, measurement.overlaps):
            self.shifts = None

    def choose_alpha(self, alphas: Sequence[float], best: BestFigures, average: Weights, measure: Measure,
                     log: Log, may_go_on: Callable[[], bool]) -> None:
        """Takes the one of `alphas` with which the best weights (their moving `average`) measure best.

        `may_go_on` is asked before each, and may raise.
        """
        if self.ensemble is None:
            return
        for alpha in alphas:
            if not may_go_on():
                break
            ensemble = self.ensemble.with_alpha(alpha)
            measurement = measure(self._shifted(ensemble.weights(average)))
            log({"alpha": alpha, "mean_dice": round(measurement.dice.get(MEAN, 0.0), 4)})
            if best.update(measurement.dice, measurement.overlaps):
                self.ensemble = ensemble
        may_go_on()

    def give_back(self, best: BestFigures, average: Weights, measure: Measure, log: Log) -> None:
        """Leaves to the frozen members of a joined model the organs that the best weights segment no better."""
        weights = self.weights(average)

        def measure_division() -> dict[str, float]:
            measurement = measure(weights)
            best.overlaps = measurement.overlaps
            log({"not_taken_over": ", ".join(self._hand_over.not_taken_over),
                 "mean_dice": round(measurement.dice.get(MEAN, 0.0), 4)})
            return measurement.dice

        best.figures = self._hand_over.give_back(best.before, best.figures, measure_division)

    def write(self, folder: Path, average: Weights, best: BestFigures, validation_cases: int) -> None:
        """Writes the bundle with these weights; its metrics are the best figures, where any were measured."""
        self._start.network.load_state_dict(self.weights(average))
        metrics: dict[str, object] = {}
        if best.figures:
            metrics = {"validation_dice": best.figures, "cases": validation_cases}
            if best.before:
                metrics["validation_dice_before"] = best.before
        if self.ensemble is not None:
            metrics["alpha"] = self.ensemble.alpha
        self._hand_over.write(folder, self._recipe, self._start, self._space, metrics)
