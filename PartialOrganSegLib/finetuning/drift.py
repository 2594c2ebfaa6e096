"""How an organ that nothing is known of has changed on real CTs: the new model's labels against the start model's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .noise import Interval, corrected, paired_interval

# Of an organ's volume; below it two good models differ as much.
TOLERATED_CHANGE = 0.2
# Of a volume's logarithm, between two models that are equally good.
TYPICAL_SPREAD = 0.08
# Of what both models find: with less they mean different places.
LEAST_AGREEMENT = 0.6
# Less than this of an organ is too little to tell from stray voxels, in ml.
LEAST_ML = 3.0
CHANCE = 0.05


@dataclass(frozen=True)
class OrganLook:
    """An organ in a CT as both models find it: ml, mean entropy in nats (None where it is not found), and the Dice of
    the one against the other."""

    organ: str
    before_ml: float
    after_ml: float
    agreement: float
    entropy_before: float | None = None
    entropy_after: float | None = None


@dataclass(frozen=True)
class CaseLook:
    """A CT that both models segmented."""

    case: str
    organs: list[OrganLook]


@dataclass(frozen=True)
class Drift:
    """An organ over the CTs looked at: the change of its volume (0.5: half as much again), how far both models agree,
    the change of the mean entropy, and whether that is more than noise."""

    organ: str
    cases: int
    before_ml: float
    after_ml: float
    change: float
    low: float
    high: float
    agreement: float
    entropy_change: float | None
    drifted: bool

    def as_data(self) -> dict[str, object]:
        """For JSON, rounded."""
        entropy_change = self.entropy_change
        if entropy_change is not None:
            entropy_change = round(entropy_change, 4)
        return {"cases": self.cases, "before_ml": round(self.before_ml, 1), "after_ml": round(self.after_ml, 1),
                "change": round(self.change, 3), "low": round(self.low, 3), "high": round(self.high, 3),
                "agreement": round(self.agreement, 3), "entropy_change": entropy_change, "drifted": self.drifted}


def drifts(looks: Sequence[CaseLook], organs: Iterable[str]) -> list[Drift]:
    """The drift of each of `organs` that one of the models finds anywhere, in their order."""
    allowed = list(organs)
    of_organ: dict[str, list[OrganLook]] = {}
    for look in looks:
        for organ in look.organs:
            if organ.organ in allowed and max(organ.before_ml, organ.after_ml) >= LEAST_ML:
                of_organ.setdefault(organ.organ, []).append(organ)
    intervals: dict[str, Interval] = {}
    for name, organ_looks in of_organ.items():
        # An organ that appears or vanishes counts as that little.
        ratios = [math.log(max(look.after_ml, LEAST_ML) / max(look.before_ml, LEAST_ML)) for look in organ_looks]
        intervals[name] = paired_interval(ratios, TYPICAL_SPREAD)
    chances = {name: 2 * min(interval.p_lower, interval.p_higher) for name, interval in intervals.items()}
    chances = corrected(chances)
    return [_drift(name, of_organ[name], intervals[name], chances) for name in allowed if name in of_organ]


def _drift(name: str, looks: Sequence[OrganLook], interval: Interval, chances: Mapping[str, float]) -> Drift:
    agreement = float(np.mean([look.agreement for look in looks]))
    change = math.expm1(interval.mean)
    other_size = abs(change) > TOLERATED_CHANGE and chances[name] < CHANCE
    entropies = []
    for look in looks:
        if look.entropy_before is not None and look.entropy_after is not None:
            entropies.append(look.entropy_after - look.entropy_before)
    entropy_change = None
    if entropies:
        entropy_change = float(np.mean(entropies))
    return Drift(name, len(looks), float(np.mean([look.before_ml for look in looks])),
                 float(np.mean([look.after_ml for look in looks])), change, math.expm1(interval.low),
                 math.expm1(interval.high), agreement, entropy_change, other_size or agreement < LEAST_AGREEMENT)
