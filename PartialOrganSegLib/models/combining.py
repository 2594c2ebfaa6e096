"""The ways to combine several models, by name; see `models.ensemble`."""

from __future__ import annotations

MEAN, VOTE = "mean", "vote"
COMBINATIONS = (MEAN, VOTE)
