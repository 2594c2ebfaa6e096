"""Figures over cases: mean and standard deviation per structure, and two models compared pair by pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import stats

from .scoring import DECIDED, MASK, NEITHER, NO_PREDICTION, NO_REFERENCE, STROKES, Score

# The fields of a score that are figures.
FIGURES = ("dice", "hd95_mm", "surface_dice", "assd_mm", "volume_error_ml", "volume_error_percent", "hd95_directed_mm",
           "hausdorff_mm", "precision", "recall")
ALL_CASES = "mean over cases"


@dataclass(frozen=True)
class Statistic:
    """Mean, sample standard deviation (n - 1; None for one value), median, lowest and highest of `count` values."""

    count: int
    mean: float
    std: float | None
    median: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Row:
    """One structure over its cases. The three counts say what is missing and why; a figure without values is None."""

    structure: str
    measured_on: str
    cases: int
    in_neither: int
    not_predicted: int
    not_in_reference: int
    figures: dict[str, Statistic | None]


@dataclass(frozen=True)
class Difference:
    """Dice of the first model minus the second's over `pairs` cases that both were counted in.

    `p`: two-sided Wilcoxon signed-rank test, None where no pair differs; `p_holm`: the same, corrected after Holm for
    the number of structures tested. The row over cases compares each case's mean over structures, and stands alone.
    """

    structure: str
    measured_on: str
    pairs: int
    first: float
    second: float
    mean_difference: float
    better: int
    worse: int
    p: float | None
    p_holm: float | None


def statistic(values: Sequence[float]) -> Statistic | None:
    """None of no values."""
    if not values:
        return None
    array = np.asarray(values, float)
    deviation = None
    if len(values) > 1:
        deviation = float(array.std(ddof=1))
    return Statistic(len(values), float(array.mean()), deviation, float(np.median(array)), float(array.min()),
                     float(array.max()))


def summarise(scores: Sequence[Score]) -> list[Row]:
    """For each way of measuring a row for each structure, in the scores' order, and one of the cases' means over them.

    Structures of different trust (masks, strokes) are never averaged together.
    """
    rows = []
    for measured_on in dict.fromkeys(score.measured_on for score in scores):
        comparable = [score for score in scores if score.measured_on == measured_on]
        for name in dict.fromkeys(score.structure for score in comparable):
            rows.append(_row(name, measured_on, [score for score in comparable if score.structure == name]))
        means: dict[str, Statistic | None] = {}
        for figure in FIGURES:
            means[figure] = statistic(list(case_means(comparable, figure).values()))
        cases = {score.case for score in comparable}
        rows.append(Row(ALL_CASES, measured_on, len(cases), *_counts(comparable), means))
    return rows


def _row(name: str, measured_on: str, scores: Sequence[Score]) -> Row:
    figures: dict[str, Statistic | None] = {}
    for figure in FIGURES:
        values = [getattr(score, figure) for score in scores]
        figures[figure] = statistic([value for value in values if value is not None])
    return Row(name, measured_on, len(scores), *_counts(scores), figures)


def _counts(scores: Sequence[Score]) -> tuple[int, int, int]:
    presence = Counter(score.found for score in scores)
    return presence[NEITHER], presence[NO_PREDICTION], presence[NO_REFERENCE]


def case_means(scores: Sequence[Score], figure: str = "dice") -> dict[str, float]:
    """Case to its mean of a figure over the structures that have it; a case without any is left out."""
    values: dict[str, list[float]] = {}
    for score in scores:
        value = getattr(score, figure)
        if value is not None:
            values.setdefault(score.case, []).append(value)
    return {case: float(np.mean(of_case)) for case, of_case in values.items()}


def trusted_means(scores: Sequence[Score]) -> dict[str, tuple[float, str]]:
    """Case to its mean Dice over the structures of the way of measuring that is trusted most, and that way: a case may
    have masks and decided voxels, which are never averaged together."""
    means: dict[str, tuple[float, str]] = {}
    for measured_on in (STROKES, DECIDED, MASK):
        of_way = case_means([score for score in scores if score.measured_on == measured_on])
        means |= {case: (mean, measured_on) for case, mean in of_way.items()}
    return means


def compare(first: Sequence[Score], second: Sequence[Score]) -> list[Difference]:
    """Two models on the same references, by Dice: a row a structure, then one over the cases' means.

    A structure of a case is a pair where both models have a Dice for it, so the cases' means are over the same
    structures.
    """
    first_dice, second_dice = _dice_by_key(first), _dice_by_key(second)
    pairs = [key for key in first_dice if key in second_dice]
    rows: list[Difference] = []
    for measured_on in dict.fromkeys(key.measured_on for key in pairs):
        tested = []
        comparable = [key for key in pairs if key.measured_on == measured_on]
        for name in dict.fromkeys(key.structure for key in comparable):
            keys = [key for key in comparable if key.structure == name]
            tested.append(_difference(name, measured_on, [first_dice[key] for key in keys],
                                      [second_dice[key] for key in keys]))
        rows += _holm(tested)
        rows.append(_difference(ALL_CASES, measured_on, _means_by_case(first_dice, comparable),
                                _means_by_case(second_dice, comparable)))
    return rows


class _Key(NamedTuple):
    """What two models' scores have in common where they form a pair."""

    case: str
    structure: str
    measured_on: str


def _dice_by_key(scores: Sequence[Score]) -> dict[_Key, float]:
    dice = {}
    for score in scores:
        if score.dice is not None:
            dice[_Key(score.case, score.structure, score.measured_on)] = score.dice
    return dice


def _means_by_case(dice: Mapping[_Key, float], keys: Sequence[_Key]) -> list[float]:
    """Each case's mean over its keys, in the order of the cases."""
    values: dict[str, list[float]] = {}
    for key in keys:
        values.setdefault(key.case, []).append(dice[key])
    return [float(np.mean(of_case)) for of_case in values.values()]


def _difference(name: str, measured_on: str, first: Sequence[float], second: Sequence[float]) -> Difference:
    first_array, second_array = np.asarray(first, float), np.asarray(second, float)
    change = first_array - second_array
    p = None
    if change.any():  # the test is of the pairs that differ; SciPy refuses to test none
        p = float(stats.wilcoxon(first_array, second_array).pvalue)
    return Difference(name, measured_on, len(change), float(first_array.mean()), float(second_array.mean()),
                      float(change.mean()), int((change > 0).sum()), int((change < 0).sum()), p, None)


def _holm(rows: Sequence[Difference]) -> list[Difference]:
    """The rows with `p_holm` filled in (Holm 1979)."""
    ascending = sorted((row.p, place) for place, row in enumerate(rows) if row.p is not None)
    corrected = list(rows)
    highest = 0.0
    for rank, (p, place) in enumerate(ascending):
        # A larger p never gets a smaller correction than the one before.
        highest = max(highest, min(1.0, (len(ascending) - rank) * p))
        corrected[place] = replace(rows[place], p_holm=highest)
    return corrected
