"""Prediction by vote: every model of an ensemble segments by itself, and a voxel gets the class that most of them give.

The models may differ in everything but their organs (`models.ensemble`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from ..events import Reporter
from ..imaging.shapes import LabelMap
from ..imaging.volume import Volume
from ..organs import LabelSpace
from .cores import Threads
from .timing import timed


class Voter(Protocol):
    """A method of prediction, as `Predictor` has them."""

    threads: Threads
    precision: torch.dtype

    def segment(self, ct: Volume, written: npt.NDArray[np.uint8], seconds: dict[str, float],
                reporter: Reporter) -> tuple[LabelMap, dict[str, float]]:
        """uint8 labels on the CT's grid and the mean entropy of each organ found."""


class VotingPredictor:
    """Prediction with several methods, one after the other; see `Predictor`."""

    def __init__(self, voters: Sequence[Voter], space: LabelSpace) -> None:
        self._voters, self._space = list(voters), space
        self.precision = self._voters[0].precision

    @property
    def threads(self) -> Threads:
        """Threads of the networks."""
        return self._voters[0].threads

    @threads.setter
    def threads(self, count: Threads) -> None:
        for voter in self._voters:
            voter.threads = count

    def segment(self, ct: Volume, written: npt.NDArray[np.uint8], seconds: dict[str, float],
                reporter: Reporter) -> tuple[LabelMap, dict[str, float]]:
        """uint8 labels on the CT's grid, and of each organ the mean of the models' mean entropies."""
        everything = np.arange(self._space.class_count, dtype=np.uint8)
        votes: list[LabelMap] = []
        entropies: dict[str, list[float]] = {}
        for voter in self._voters:
            # Organs that are not asked for vote too: they compete for their voxels.
            labels, entropy = voter.segment(ct, everything, seconds, reporter)
            votes.append(labels)
            for organ, value in entropy.items():
                entropies.setdefault(organ, []).append(value)
        with timed(seconds, "vote"):
            labels = written[majority(votes)]
        means = {organ: float(np.mean(values)) for organ, values in entropies.items()}
        return labels, means


def majority(votes: Sequence[LabelMap]) -> LabelMap:
    """uint8 class with the most of the `votes` (z, y, x each) at every voxel; of several such classes the one that the
    earliest of them voted for."""
    labels = votes[0].copy()
    votes_for_it = np.zeros(labels.shape, np.uint8)
    for vote in votes:
        count = np.zeros(labels.shape, np.uint8)
        for compared in votes:
            count += compared == vote
        better = count > votes_for_it
        labels[better] = vote[better]
        votes_for_it[better] = count[better]
    return labels
