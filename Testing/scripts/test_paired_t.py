"""The statistics of the papers' tables against scipy's and against simulated experiments."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from Testing.helpers.repository import SCRIPTS

sys.path.insert(0, str(SCRIPTS))
from reproduction.paired_t import LEVEL, POWER, detectable_noncentrality, paired_difference


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10 ** 6), st.floats(1e-3, 10))
def test_mean_and_interval_are_scipys(pairs, seed, spread):
    generator = np.random.default_rng(seed)
    first, second = generator.normal(0.8, spread, pairs), generator.normal(0.7, spread, pairs)
    ours = paired_difference(first, second)
    theirs = stats.ttest_rel(first, second)
    interval = theirs.confidence_interval(LEVEL)
    assert ours.mean == pytest.approx(float(np.mean(first - second)))
    assert (ours.low, ours.high) == pytest.approx((float(interval.low), float(interval.high)))
    assert (ours.low > 0 or ours.high < 0) == (theirs.pvalue < 1 - LEVEL)


@pytest.mark.parametrize("degrees", [1, 2, 5, 7, 30])
def test_detectable_is_what_the_noncentral_t_finds(degrees):
    noncentrality = detectable_noncentrality(degrees)
    critical = stats.t.ppf((1 + LEVEL) / 2, degrees)
    # The other tail, which is found as well, is below 1e-5.
    assert stats.nct.sf(critical, degrees, noncentrality) == pytest.approx(POWER, abs=1e-4)


def test_detectable_of_many_pairs_is_the_normal_ones():
    assert detectable_noncentrality(100_000) == pytest.approx(stats.norm.ppf(0.975) + stats.norm.ppf(0.8), abs=1e-3)


def test_experiments_with_the_detectable_difference_are_found_in_four_of_five():
    """Six seeds whose true difference is just detectable: scipy's test finds it with the promised power."""
    seeds, spread = 6, 0.02
    true = detectable_noncentrality(seeds - 1) * spread / math.sqrt(seeds)
    differences = np.random.default_rng(0).normal(true, spread, (4000, seeds))
    significant = stats.ttest_1samp(differences, 0.0, axis=1).pvalue < 1 - LEVEL
    assert significant.mean() == pytest.approx(POWER, abs=0.02)


def test_detectable_scales_with_the_spread():
    first, second = [0.80, 0.82, 0.81, 0.85], [0.70, 0.71, 0.74, 0.72]
    original = paired_difference(first, second)
    doubled = paired_difference([2 * value for value in first], [2 * value for value in second])
    assert doubled.detectable == pytest.approx(2 * original.detectable)
    # A difference at the interval's edge is significant every other time only.
    assert original.detectable > original.high - original.mean


def test_one_pair_shows_nothing():
    ours = paired_difference([0.9], [0.1])
    assert ours.mean == pytest.approx(0.8)
    assert (ours.low, ours.high, ours.detectable) == (-math.inf, math.inf, math.inf)


def test_values_must_be_pairs():
    with pytest.raises(ValueError, match="found 2 and 1"):
        paired_difference([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="found 0 and 0"):
        paired_difference([], [])
