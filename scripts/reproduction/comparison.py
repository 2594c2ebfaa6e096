"""Whether a claim of a paper holds in our runs: the difference of two rows against what these runs could show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .paired_t import PairedDifference, paired_difference
from .results import Result
from .table import Claim, Table

HOLDS, OPPOSITE, NOT_DECIDED = "holds", "opposite", "not decided"


@dataclass(frozen=True)
class Verdict:
    """The mean Dice of a claim's better row minus the worse one's, paired over seeds and over test cases.

    `published`: the paper's difference; None where it gives none.
    """

    claim: Claim
    over_seeds: PairedDifference
    over_cases: PairedDifference
    published: float | None

    @property
    def detectable(self) -> float:
        """The smallest difference that both the seeds and the test cases could have shown."""
        return max(self.over_seeds.detectable, self.over_cases.detectable)

    @property
    def verdict(self) -> str:
        """One of HOLDS, OPPOSITE, NOT_DECIDED: decided is only a difference that could have been detected."""
        # Larger than detectable is more than "the interval leaves zero out": a difference at the interval's edge would
        # be found in every other repetition only.
        difference = self.over_seeds.mean
        if abs(difference) <= self.detectable:
            return NOT_DECIDED
        if difference > 0:
            return HOLDS
        return OPPOSITE


def judge_claims(table: Table, results: Mapping[str, Mapping[int, Result]]) -> list[Verdict]:
    """The claims whose rows have both been run with one seed at least. `results[row][seed]`."""
    published = {row.key: row.published.dice for row in table.rows}
    verdicts = []
    for claim in table.claims:
        better, worse = results.get(claim.better, {}), results.get(claim.worse, {})
        seeds = sorted(set(better) & set(worse))
        if not seeds:
            continue
        pairs = [(better[seed], worse[seed]) for seed in seeds]
        theirs = None
        first, second = published[claim.better], published[claim.worse]
        if first is not None and second is not None:
            theirs = first - second
        verdicts.append(Verdict(claim, _over_seeds(pairs), _over_cases(pairs), theirs))
    return verdicts


def _over_seeds(pairs: list[tuple[Result, Result]]) -> PairedDifference:
    """A pair is a seed: both rows had the same training cases, and each value is the mean over all test cases."""
    return paired_difference([better.mean() for better, _ in pairs], [worse.mean() for _, worse in pairs])


def _over_cases(pairs: list[tuple[Result, Result]]) -> PairedDifference:
    """A pair is a test case: each value is the mean over the seeds, so that their noise is not counted again."""
    better = _means_over_seeds([first for first, _ in pairs])
    worse = _means_over_seeds([second for _, second in pairs])
    names = [name for name in better if name in worse]
    return paired_difference([better[name] for name in names], [worse[name] for name in names])


def _means_over_seeds(results: list[Result]) -> dict[str, float]:
    """Mean over the seeds of each test case's mean Dice."""
    values: dict[str, list[float]] = {}
    for result in results:
        for name, mean in result.case_means().items():
            values.setdefault(name, []).append(mean)
    return {name: float(np.mean(means)) for name, means in values.items()}
