"""Whether a claim of a paper holds in our runs: the difference of two rows against its noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .runs import Result
from .tables import Claim, Table

HOLDS, FAILS, NOISE = "holds", "does not hold", "within noise"


@dataclass(frozen=True)
class Verdict:
    """`difference` in mean Dice of the better row over the worse one, ours and the paper's (None: it has none).

    `noise`: twice the standard error. The verdict is "within noise" where the difference is smaller.
    """

    claim: Claim
    difference: float
    noise: float
    published: float | None

    @property
    def verdict(self) -> str:
        """One of HOLDS, FAILS, NOISE."""
        if abs(self.difference) <= self.noise:
            return NOISE
        return HOLDS if self.difference > 0 else FAILS


def judge_claims(table: Table, results: Mapping[str, Mapping[int, Result]]) -> list[Verdict]:
    """The claims whose rows have both been run, with one seed at least. `results[row][seed]`."""
    published = {row.key: row.published for row in table.rows}
    verdicts = []
    for claim in table.claims:
        better, worse = results.get(claim.better, {}), results.get(claim.worse, {})
        seeds = sorted(set(better) & set(worse))
        if seeds:
            ours = _difference([(better[seed], worse[seed]) for seed in seeds])
            theirs = [published[claim.better], published[claim.worse]]
            verdicts.append(Verdict(claim, *ours, None if None in theirs else theirs[0] - theirs[1]))
    return verdicts


def _difference(pairs: list[tuple[Result, Result]]) -> tuple[float, float]:
    """Mean difference, and twice the larger of its standard errors over seeds and over test cases.

    Rows are compared seed by seed and case by case: they trained and were tested on the same cases.
    """
    seeds = np.array([better.mean() - worse.mean() for better, worse in pairs])
    of_cases = [{name: value - worse.case_means()[name] for name, value in better.case_means().items()}
                for better, worse in pairs]
    cases = np.array([np.mean([differences[name] for differences in of_cases]) for name in of_cases[0]])
    return float(seeds.mean()), 2 * max(_standard_error(seeds), _standard_error(cases))


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0
