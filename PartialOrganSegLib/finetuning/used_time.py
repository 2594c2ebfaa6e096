"""What a run's minutes were used for, beside what was asked for: preparing, training, comparing both models."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from .plan import Plan
from .time_keeping import WRITING_S, TimeKeeper


class UsedTime:
    """The time of a run of which `plan` knows how long its preparation took. What passed between a run that was ended
    and its resumption does not count."""

    def __init__(self, plan: Plan, clock: Callable[[], float] = time.monotonic) -> None:
        self._plan, self._clock, self._began = plan, clock, clock()
        self._keeper: TimeKeeper | None = None
        self._training_s, self._trained_at = 0.0, self._began

    def follow(self, keeper: TimeKeeper) -> None:
        """Takes the training's time from its `keeper`, who knows that before a resumption too."""
        self._keeper = keeper

    def end_training(self) -> None:
        """From here on both models are compared."""
        self._trained_at = self._clock()
        self._training_s = self._trained_at - self._began
        if self._keeper is not None:
            self._training_s = self._keeper.spent

    @property
    def remaining_s(self) -> float:
        """Seconds of those asked for that are left, the last files written; infinite where only steps were."""
        if self._plan.asked_minutes is None:
            return math.inf
        return 60 * self._plan.asked_minutes - self._total_s - WRITING_S

    @property
    def _total_s(self) -> float:
        return self._plan.preparing_seconds + self._training_s + self._clock() - self._trained_at

    def as_data(self) -> dict[str, float | None]:
        """Minutes, for JSON. `asked`: None where only steps were."""
        comparing = self._clock() - self._trained_at
        return {"asked": self._plan.asked_minutes, "used": round(self._total_s / 60, 2),
                "preparing": round(self._plan.preparing_seconds / 60, 2), "training": round(self._training_s / 60, 2),
                "comparing": round(comparing / 60, 2)}
