"""Whether a difference of two models is more than noise: a paired mean with its interval, for as few as one pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
# A standard deviation of few differences is itself mostly chance: three that are alike by accident would prove
# anything. So it is drawn towards a typical one, which counts as much as this many differences (the moderated t of
# Smyth 2004, Linear models and empirical Bayes methods, section 4).
TYPICAL_WEIGHT = 4
# From patient to patient the change of an organ's Dice varies by about a tenth of what that Dice lacks to 1: by 0.01 at
# 0.9, by 0.05 at 0.5.
SPREAD_OF_LACK, LEAST_SPREAD = 0.1, 0.005


@dataclass(frozen=True)
class Interval:
    """A mean of `units` paired differences and its 95 % interval; `p_lower`, `p_higher`: the chance of a mean as low or
    as high as this where there is no difference."""

    mean: float
    low: float
    high: float
    units: int
    p_lower: float
    p_higher: float

    @property
    def higher(self) -> bool:
        """Whether the mean is above 0 by more than noise."""
        return self.low > 0

    @property
    def lower(self) -> bool:
        """Whether the mean is below 0 by more than noise."""
        return self.high < 0


def typical_spread(dice: float) -> float:
    """How much the change of a Dice of this height usually varies from case to case."""
    return max(LEAST_SPREAD, SPREAD_OF_LACK * (1 - dice))


def paired_interval(differences: Sequence[float], spread: float, patients: int | None = None) -> Interval:
    """The mean of the differences with its interval; `spread` is their typical standard deviation.

    `s^2 = (d s_0^2 + sum (x - m)^2) / (d + n - 1)`, `d` being `TYPICAL_WEIGHT`; `m +- t s / sqrt(n)` with `d + n - 1`
    degrees of freedom. Where the differences are not of patients but of slabs of so many `patients`, the next patient's
    difference from these is added to the variance: `s^2 / n + s_0^2 / patients`. Raises ValueError for none.

    >>> one = paired_interval([0.3], 0.05)
    >>> round(one.low, 2), round(one.high, 2), one.higher
    (0.16, 0.44, True)
    >>> paired_interval([0.02, -0.01, 0.01], 0.02).higher
    False
    """
    if not differences:
        raise ValueError("an interval needs a difference")
    values = np.asarray(differences, float)
    mean, freedom = float(values.mean()), TYPICAL_WEIGHT + len(values) - 1
    variance = (TYPICAL_WEIGHT * spread ** 2 + float(((values - mean) ** 2).sum())) / freedom
    # Slabs of one patient say nothing of how much the next one differs.
    between = 0.0 if patients is None else spread ** 2 / patients
    error = float(np.sqrt(variance / len(values) + between))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    p_lower = float(stats.t.cdf(mean / error, freedom))
    return Interval(mean, mean - reach, mean + reach, len(values), p_lower, 1 - p_lower)


def corrected(p_values: Mapping[str, float]) -> dict[str, float]:
    """The chances of several questions asked together, after Holm 1979: of twelve organs one seems to lose by chance.

    >>> corrected({"liver": 0.01, "spleen": 0.04, "colon": 0.03})
    {'liver': 0.03, 'colon': 0.06, 'spleen': 0.06}
    """
    result: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: (p_values[name], name))):
        # A larger chance never gets a smaller correction than the one before.
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[name]))
        result[name] = highest
    return result


def slab_differences(before: Sequence[tuple[int, int]], after: Sequence[tuple[int, int]]) -> list[float]:
    """Of one organ in one CT: the change of Dice as one value a slab, whose mean is that of the CT.

    `before`, `after`: of each slab the voxels in both masks, and the sum of both masks' voxels. The values are the
    jackknife's (Tukey 1958): `n d - (n - 1) d_i` with the change `d` of all slabs and `d_i` of all but the i-th; Dice
    of thin slabs themselves would give an organ's two ends as much weight as all of its middle.

    >>> slab_differences([(4, 10), (4, 10)], [(5, 10), (5, 10)])
    [0.2, 0.2]
    """
    slabs = [number for number, (old, new) in enumerate(zip(before, after, strict=True)) if old[1] or new[1]]
    if not slabs:
        return []
    change_of_all = _change(before, after, slabs)
    if len(slabs) == 1:
        return [change_of_all]
    values = []
    for left_out in slabs:
        remaining = [number for number in slabs if number != left_out]
        change = _change(before, after, remaining)
        values.append(round(len(slabs) * change_of_all - (len(slabs) - 1) * change, 9))
    # Dice is a ratio, so that the values' mean is not quite the change: they are moved there.
    offset = change_of_all - sum(values) / len(values)
    return [round(value + offset, 9) for value in values]


def _change(before: Sequence[tuple[int, int]], after: Sequence[tuple[int, int]], slabs: Sequence[int]) -> float:
    return overlap_dice([after[number] for number in slabs]) - overlap_dice([before[number] for number in slabs])


def overlap_dice(overlaps: Sequence[tuple[int, int]]) -> float:
    """Dice of slabs together; 0 where both masks are empty, as then the other model's is compared with nothing."""
    total = sum(size for _, size in overlaps)
    return 2 * sum(common for common, _ in overlaps) / total if total else 0.0
