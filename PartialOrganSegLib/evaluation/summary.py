"""Figures over cases: mean and standard deviation per structure, and two models compared pair by pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .scoring import NEITHER, NO_PREDICTION, NO_REFERENCE, Score

FIGURES = ("dice", "hd95_mm", "surface_dice", "assd_mm", "volume_error_ml", "volume_error_percent", "hd95_directed_mm")
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
    return Statistic(len(values), float(array.mean()), float(array.std(ddof=1)) if len(values) > 1 else None,
                     float(np.median(array)), float(array.min()), float(array.max()))


def summarise(scores: Sequence[Score]) -> list[Row]:
    """For each way of measuring a row for each structure, in the scores' order, and one of the cases' means over them.

    Structures of different trust (masks, strokes) are never averaged together.
    """
    rows = []
    for measured_on in dict.fromkeys(score.measured_on for score in scores):
        these = [score for score in scores if score.measured_on == measured_on]
        for name in dict.fromkeys(score.structure for score in these):
            rows.append(_row(name, measured_on, [score for score in these if score.structure == name]))
        cases = list(dict.fromkeys(score.case for score in these))
        means = {figure: statistic(list(case_means(these, figure).values())) for figure in FIGURES}
        rows.append(Row(ALL_CASES, measured_on, len(cases), *_counts(these), means))
    return rows


def _row(name: str, measured_on: str, scores: Sequence[Score]) -> Row:
    figures = {figure: statistic([value for score in scores if (value := getattr(score, figure)) is not None])
               for figure in FIGURES}
    return Row(name, measured_on, len(scores), *_counts(scores), figures)


def _counts(scores: Sequence[Score]) -> tuple[int, int, int]:
    found = Counter(score.found for score in scores)
    return found[NEITHER], found[NO_PREDICTION], found[NO_REFERENCE]


def case_means(scores: Sequence[Score], figure: str = "dice") -> dict[str, float]:
    """Case to its mean of a figure over the structures that have it; a case without any is left out."""
    values: dict[str, list[float]] = {}
    for score in scores:
        value = getattr(score, figure)
        if value is not None:
            values.setdefault(score.case, []).append(value)
    return {case: float(np.mean(of_case)) for case, of_case in values.items()}


def compare(first: Sequence[Score], second: Sequence[Score]) -> list[Difference]:
    """Two models on the same references, by Dice: a row a structure, then one over the cases' means.

    A structure of a case is a pair where both models have a Dice for it, so the cases' means are over the same
    structures.
    """
    def keyed(scores: Sequence[Score]) -> dict[tuple[str, str, str], Score]:
        return {(score.case, score.structure, score.measured_on): score for score in scores if score.dice is not None}

    ours, theirs = keyed(first), keyed(second)
    shared = [key for key in ours if key in theirs]
    rows: list[Difference] = []
    for measured_on in dict.fromkeys(key[2] for key in shared):
        keys = [key for key in shared if key[2] == measured_on]
        tested = [_difference(name, measured_on, [ours[key].dice for key in keys if key[1] == name],
                              [theirs[key].dice for key in keys if key[1] == name])
                  for name in dict.fromkeys(key[1] for key in keys)]
        means = [case_means([scores[key] for key in keys]) for scores in (ours, theirs)]
        rows += _holm(tested)
        rows.append(_difference(ALL_CASES, measured_on, *(list(of_model.values()) for of_model in means)))
    return rows


def _difference(name: str, measured_on: str, first: Sequence[float], second: Sequence[float]) -> Difference:
    ours, theirs = np.asarray(first, float), np.asarray(second, float)
    change = ours - theirs
    p = float(stats.wilcoxon(ours, theirs).pvalue) if change.any() else None
    return Difference(name, measured_on, len(change), float(ours.mean()), float(theirs.mean()), float(change.mean()),
                      int((change > 0).sum()), int((change < 0).sum()), p, None)


def _holm(rows: Sequence[Difference]) -> list[Difference]:
    """The rows with `p_holm` filled in (Holm 1979)."""
    order = sorted((place for place, row in enumerate(rows) if row.p is not None), key=lambda place: rows[place].p)
    corrected: dict[int, float] = {}
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * rows[place].p))
        corrected[place] = highest
    return [Difference(**{**vars(row), "p_holm": corrected.get(place)}) for place, row in enumerate(rows)]
