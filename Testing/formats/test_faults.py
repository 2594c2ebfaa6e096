"""Mutants of sound files of every format, always the same ones: a clear line, or read as an independent reader does.

`Testing/benchmarks/faults.py` makes thousands.
"""

import sys
import warnings
from pathlib import Path

import pytest

from Testing.helpers.fault_seeds import SEEDS
from Testing.helpers.faults import BAD, Seed, sound_result, verdict_of

# Enough to notice a reader that lost its checks, few enough for every run of the tests.
MUTANTS = 12


@pytest.mark.skipif(sys.platform == "win32", reason="a mutant is read in a forked process")
@pytest.mark.parametrize("seed", SEEDS, ids=[seed.name for seed in SEEDS])
def test_no_mutant_is_more_than_a_line(tmp_path: Path, seed: Seed) -> None:
    (tmp_path / "sound").mkdir()
    original = sound_result(seed, tmp_path / "sound")
    bad = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's comments on damaged headers
        for number in range(MUTANTS):
            folder = tmp_path / str(number)
            folder.mkdir()
            verdict = verdict_of(seed, folder, number, original)
            if verdict.outcome in BAD:
                bad.append(f"{number}: {verdict}")
    assert bad == []
