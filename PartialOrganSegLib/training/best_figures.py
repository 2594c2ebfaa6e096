"""The best figures of a run so far, and what makes figures better than others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from .overlaps import Measurement, Overlap

# Beside the organs' names in figures.
MEAN = "mean"


class _OverlapsState(TypedDict, total=False):
    """What is missing where the run began with an earlier version."""

    overlaps: list[Overlap]
    overlaps_before: list[Overlap]


class BestFiguresState(_OverlapsState):
    """What a checkpoint has of them."""

    figures: dict[str, float]
    stale: int
    before: dict[str, float]


@dataclass
class BestFigures:
    """The best Dice per organ so far, and how many measurements since were not better (`stale`); `before` is the
    start model's.

    `half`: organs that count as much as all others together (a few organs are taught, many are to be kept). With a
    `tolerated_loss`, figures with one of these others more than that below `before` are worse than any without, and so
    are those whose `half` has gained nothing. `retained` organs count as no worse than before: where they are, the
    network that had the say of them keeps it. `ignored` ones decide nothing: where there are no others, the latest
    figures are the best. `overlaps` and `overlaps_before` are what the figures are made of.
    """

    figures: dict[str, float] = field(default_factory=dict)
    stale: int = 0
    before: dict[str, float] = field(default_factory=dict)
    half: tuple[str, ...] = ()
    tolerated_loss: float | None = None
    retained: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    overlaps: list[Overlap] = field(default_factory=list)
    overlaps_before: list[Overlap] = field(default_factory=list)

    def rank(self, figures: Mapping[str, float]) -> tuple[bool, bool, float]:
        """What figures are compared by: whether nothing speaks against them, whether no loss is beyond what is
        tolerated, and the score."""
        if self.tolerated_loss is None:
            return True, True, self.score(figures)
        lost, taught_changes = False, []
        for name, value in figures.items():
            if name == MEAN or name in self.ignored or name not in self.before:
                continue
            change = self._counted(name, value) - self.before[name]
            if name in self.half:
                taught_changes.append(change)
            elif change < -self.tolerated_loss:
                lost = True
        # Organs that were not measured neither gained nor lost.
        gained = not taught_changes or sum(taught_changes) > 0
        return not lost and gained, not lost, self.score(figures)

    def score(self, figures: Mapping[str, float]) -> float:
        """The mean Dice by which figures are compared; -1 where nothing could be measured."""
        groups: tuple[list[float], list[float]] = ([], [])
        for name, value in figures.items():
            if name != MEAN and name not in self.ignored:
                groups[name in self.half].append(self._counted(name, value))
        means = [sum(group) / len(group) for group in groups if group]
        return sum(means) / len(means) if means else -1.0

    def _counted(self, name: str, value: float) -> float:
        """What an organ's Dice counts as."""
        if name not in self.retained:
            return value
        return max(value, self.before.get(name, value))

    def set_before(self, measurement: Measurement) -> None:
        """Takes what was measured before the first step."""
        self.before, self.overlaps_before = measurement.dice, measurement.overlaps

    def update(self, figures: dict[str, float], overlaps: Sequence[Overlap] = ()) -> bool:
        """Takes new figures; whether they are the best so far. Those with nothing measured never are."""
        better = self.score(figures) >= 0 and (not self.figures or self.rank(figures) > self.rank(self.figures))
        if figures and all(name == MEAN or name in self.ignored for name in figures):
            better = True
        if better:
            self.figures, self.stale, self.overlaps = figures, 0, list(overlaps)
        else:
            self.stale += 1
        return better

    def state_dict(self) -> BestFiguresState:
        """For the checkpoint."""
        return {"figures": self.figures, "stale": self.stale, "before": self.before, "overlaps": self.overlaps,
                "overlaps_before": self.overlaps_before}

    def restore(self, state: BestFiguresState) -> None:
        """Goes back to a checkpoint's state."""
        self.figures, self.stale, self.before = state["figures"], state["stale"], state["before"]
        self.overlaps = state.get("overlaps", [])
        self.overlaps_before = state.get("overlaps_before", [])
