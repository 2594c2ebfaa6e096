"""What a run gives: Dice, HD95 and Hausdorff distance of every test case and organ, its time and its learning curve."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.evaluation.metrics import dice
from PartialOrganSegLib.imaging.surface import surface_distances

Figures = dict[str, dict[str, float | None]]

CURVE_POINTS = 50
# Share of the steps, from the end, over which the slope of the learning curve is measured.
LAST_SHARE = 0.2


@dataclass
class Result:
    """`dice`, `hd95` (mm) and `hausdorff` (the maximum, mm): [case][organ].

    Dice is None where neither the reference nor the prediction has the organ; the distances are None where only one
    of them has it, too. `step_seconds`: mean time of a training step; `processor_seconds`: of it the process' own, None
    of runs from before it was logged. `curve`: (step, loss), a mean over what was logged since the point before; `kl`:
    (step, KL(q, pbar)) of a row with a prior, likewise.
    """

    dice: Figures
    step_seconds: float
    hd95: Figures = field(default_factory=dict)
    hausdorff: Figures = field(default_factory=dict)
    steps: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    kl: list[tuple[int, float]] = field(default_factory=list)
    processor_seconds: float | None = None

    def organs(self) -> dict[str, float]:
        """Mean Dice over the test cases, per organ."""
        return _organ_means(self.dice)

    def mean(self) -> float:
        """Mean Dice: over the organs of their means over the cases."""
        # By organ first: an organ that few cases show counts as much as one that all of them show.
        return float(np.mean(list(self.organs().values())))

    def mean_distance(self, figures: Figures) -> float | None:
        """As `mean`, of `hd95` or `hausdorff`, in mm; None where no case has a distance."""
        means = list(_organ_means(figures).values())
        if not means:
            return None
        return float(np.mean(means))

    def missed(self) -> int:
        """In how many cases an organ was missed or made up altogether, which the distances do not say."""
        count = 0
        for name, organs in self.dice.items():
            distances = self.hd95.get(name, {})
            # An organ that was found elsewhere has a Dice of 0 as well, and a distance that says how far away.
            count += sum(value == 0.0 and distances.get(organ) is None for organ, value in organs.items())
        return count

    def case_means(self) -> dict[str, float]:
        """Mean Dice over the organs, per test case; cases without any organ are left out."""
        means = {}
        for name, organs in self.dice.items():
            values = [value for value in organs.values() if value is not None]
            if values:
                means[name] = float(np.mean(values))
        return means

    def slope(self) -> float | None:
        """How fast the loss still changes at the end, per 1000 steps; None of a curve too short to tell."""
        points = [(step, loss) for step, loss in self.curve if step >= (1 - LAST_SHARE) * self.steps]
        if len(points) < 3:
            return None
        steps, losses = np.array(points).T
        return float(np.polyfit(steps, losses, 1)[0] * 1000)

    def write(self, file: Path) -> None:
        """As JSON, which `read_result` reads."""
        with whole_file(file) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def read_result(file: Path) -> Result:
    """What `Result.write` wrote."""
    content = json.loads(file.read_text(encoding="utf-8"))
    for name in ("curve", "kl"):  # results from before there was a KL are good without
        content[name] = [(int(step), float(value)) for step, value in content.get(name, [])]
    # A later version's child processes may have written more than this one knows.
    known = {name: content[name] for name in Result.__dataclass_fields__ if name in content}
    return Result(**known)


def organ_figures(predicted: np.ndarray, reference: np.ndarray,
                  spacing: tuple[float, float, float]) -> tuple[float | None, float | None, float | None]:
    """Dice, HD95 and Hausdorff distance (mm) of two bool masks (z, y, x) with voxels of `spacing` (z, y, x) mm."""
    overlap = dice(predicted, reference)
    if overlap is None:
        return None, None, None
    if not predicted.any() or not reference.any():
        return 0.0, None, None  # METHODS' rule: no made-up distance in a mean
    distances = surface_distances(predicted, reference, spacing)
    return round(overlap, 4), round(distances.hd95, 2), round(distances.hausdorff, 2)


def learning_curve(log: Path) -> tuple[list[tuple[int, float]], float]:
    """At most CURVE_POINTS (step, mean loss) of a run's log.jsonl, and the mean seconds of a step."""
    steps: list[int] = []
    losses: list[float] = []
    seconds: list[float] = []
    for line in _log_lines(log):
        values = json.loads(line)
        if "loss" in values and "seconds" in values:
            steps.append(int(values["step"]))
            losses.append(float(values["loss"]))
            seconds.append(float(values["seconds"]))
    return _thinned(steps, losses), float(np.mean(seconds or [0.0]))


def processor_seconds(log: Path) -> float | None:
    """Mean processor time of a step; None where none was logged."""
    seconds = []
    for line in _log_lines(log):
        values = json.loads(line)
        if "processor" in values:
            seconds.append(float(values["processor"]))
    if not seconds:
        return None
    return float(np.mean(seconds))


def divergence_curve(log: Path) -> list[tuple[int, float]]:
    """At most CURVE_POINTS (step, KL(q, pbar)) of a run with a prior; none of another."""
    steps: list[int] = []
    values: list[float] = []
    for line in _log_lines(log):
        figures = json.loads(line)
        for name in ("prior_kl", "prior_primal_dual_kl"):
            if name in figures:
                steps.append(int(figures["step"]))
                values.append(float(figures[name]))
    return _thinned(steps, values)


def _log_lines(log: Path) -> list[str]:
    """None of a run of fewer steps than are logged at a time, which has no log."""
    if not log.exists():
        return []
    return log.read_text(encoding="utf-8").splitlines()


def _thinned(steps: Sequence[int], losses: Sequence[float]) -> list[tuple[int, float]]:
    points = []
    for part in np.array_split(np.arange(len(steps)), CURVE_POINTS):
        if len(part):
            points.append((steps[part[-1]], round(float(np.mean([losses[place] for place in part])), 5)))
    return points


def _organ_means(figures: Figures) -> dict[str, float]:
    """Mean over the cases that have a value, per organ; organs without any are left out."""
    values: dict[str, list[float]] = {}
    for organs in figures.values():
        for name, value in organs.items():
            if value is not None:
                values.setdefault(name, []).append(value)
    return {name: float(np.mean(listed)) for name, listed in values.items()}
