"""Paired differences of two methods: the mean, its interval, and the smallest difference that the pairs could show.

`d_1 .. d_n` are the methods' differences on the same seeds (or cases), `m` their mean and `s` their standard deviation.

    interval      m ± t(1 - (1 - level) / 2, n - 1) s / sqrt(n)
    detectable    the true difference which the two-sided paired t-test at 1 - `level` finds with chance `power`,
                  taking `s` for the true spread: s / sqrt(n) times the noncentrality of that power

Both are infinite for a single pair, whose spread nobody knows.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

LEVEL, POWER = 0.95, 0.8
SPREADS = 20_000  # values that the mean over the estimated spread is taken of


@dataclass(frozen=True)
class PairedDifference:
    """`mean` of first minus second over `pairs`, its interval from `low` to `high`, and what is `detectable`."""

    mean: float
    low: float
    high: float
    detectable: float
    pairs: int


def paired_difference(first: Sequence[float], second: Sequence[float]) -> PairedDifference:
    """How far `first` lies above `second`, value by value. Raises ValueError for unequal lengths or no values."""
    if len(first) != len(second) or not len(first):
        raise ValueError(f"pairs: expected as many first as second values, found {len(first)} and {len(second)}")
    differences = np.subtract(first, second)
    mean, pairs = float(differences.mean()), len(differences)
    if pairs == 1:
        return PairedDifference(mean, -math.inf, math.inf, math.inf, pairs)
    error = float(differences.std(ddof=1)) / math.sqrt(pairs)
    half = _critical(pairs - 1) * error
    return PairedDifference(mean, mean - half, mean + half, detectable_noncentrality(pairs - 1) * error, pairs)


@functools.cache
def detectable_noncentrality(degrees: int) -> float:
    """The noncentrality (true difference over its standard error) that the two-sided test finds with chance POWER."""
    critical = _critical(degrees)
    # The test statistic is (Z + noncentrality) / S, where Z is normal and S the estimated spread over the true one. The
    # power is the mean over S of a normal tail; SciPy's own noncentral t gives NaN for few degrees of freedom.
    shares = (np.arange(SPREADS) + 0.5) / SPREADS
    limits = critical * np.sqrt(special.chdtri(degrees, 1 - shares) / degrees)

    def missing_power(noncentrality: float) -> float:
        beyond = special.ndtr(noncentrality - limits) + special.ndtr(-noncentrality - limits)
        return float(beyond.mean()) - POWER

    high = critical
    while missing_power(high) < 0:
        high *= 2
    return float(optimize.brentq(missing_power, 0.0, high))


def _critical(degrees: int) -> float:
    return float(special.stdtrit(degrees, 1 - (1 - LEVEL) / 2))
