"""Whatever is killed at any moment is simply started again, and comes to what it would have come to.

A longer one, with its table: Testing/benchmarks/kills.py.
"""

from __future__ import annotations

import os

import pytest

from Testing.helpers.kill_trials import COMMANDS, kill_trials


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_killed_at_random_moments_nothing_is_lost(tmp_path, name):
    [(_, tally)] = kill_trials(tmp_path, seed=19, kills=8, names=(name,))
    assert tally.wrong == []
    assert tally.kills >= 8
