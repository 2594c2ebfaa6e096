"""Keeps the time that was promised: the number of steps follows from how long steps really take, on an idle machine and
beside others."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

from ..training.hooks import Hook, RunView, StepReport
from .budget import LARGEST_SHARE
from .plan import TimePlan

# Steps whose mean says how long the next ones take, and after how many the plan is made anew.
RECENT, REPLAN_EVERY = 20, 5
# For the last checkpoint and the model's files.
WRITING_S = 5.0
# What is not measured yet is expected to be slower than planned by as much as steps are, within these bounds.
SLOWEST, QUICKEST = 2.0, 0.25


class TimeKeeper(Hook):
    """Plans the stage anew every few steps, so that training with its measurements ends in time. A resumed run has what
    time was left; what passed between its last checkpoint and its end does not count."""

    def __init__(self, plan: TimePlan, follow_load: Callable[[], None] = lambda: None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """`follow_load` is called at every step, and may set how many threads compute."""
        self._plan, self._follow_load, self._clock = plan, follow_load, clock
        self._began, self._before = clock(), 0.0
        self._measured = 0
        # The step of the last measurement.
        self._measured_at = 0
        self._measurement_s = plan.measurement_seconds
        self._steps: deque[float] = deque(maxlen=RECENT)
        # None where the time since then is not that of one step.
        self._last_step: float | None = None

    @property
    def _slower(self) -> float:
        """How many times as long as planned everything takes, by the steps so far."""
        if not self._steps or not self._plan.step_seconds:
            return 1.0
        return min(SLOWEST, max(QUICKEST, sum(self._steps) / len(self._steps) / self._plan.step_seconds))

    @property
    def _seconds(self) -> float:
        """For the training, with what is not needed after it now that it is known how busy the machine is."""
        return self._plan.seconds + self._plan.looking_seconds * (1 - self._slower)

    @property
    def _next_measurement_s(self) -> float:
        """As long as the last one; before there was one as planned, or longer where steps are slower than planned."""
        if self._measured:
            return self._measurement_s
        return self._measurement_s * max(1.0, self._slower)

    @property
    def spent(self) -> float:
        """Seconds of the training so far, those before it was resumed included."""
        return self._before + self._clock() - self._began

    def on_start(self, trainer: RunView) -> None:
        if trainer.step == 0:
            trainer.plan_stage(self._plan.steps, self._next_measurement(self._plan.steps, 0))

    def on_step(self, trainer: RunView, report: StepReport) -> None:
        moment = self._clock()
        self._steps.append(report.seconds if self._last_step is None else moment - self._last_step)
        self._last_step = moment
        self._follow_load()
        # A plan of a step or two, timed on a machine that was busy then, would otherwise end before it is made anew.
        is_new = trainer.step < REPLAN_EVERY
        if is_new or trainer.step % REPLAN_EVERY == 0 or self.spent > self._seconds:
            steps = trainer.step + self._steps_left()
            trainer.plan_stage(steps, self._next_measurement(steps, trainer.step))

    def on_validation(self, trainer: RunView, figures: Mapping[str, float]) -> None:
        # The one before the first step reads the cases too, and takes longer than those after it.
        if self._last_step is not None:
            self._measurement_s = self._clock() - self._last_step
            self._measured += 1
            self._measured_at = trainer.step
            self._last_step = None

    def allows_trial(self, trainer: RunView) -> bool:
        return self.spent + self._next_measurement_s + WRITING_S <= self._seconds

    def _measurements_left(self) -> tuple[int, int]:
        """How many there is time for before all steps are done, the one after the last of them included, and how many
        trials: beside a busy neighbour they would leave no time to learn."""
        measurements, trials = max(1, self._plan.measurements - self._measured), self._plan.trials
        affordable = int(LARGEST_SHARE * (self._seconds - self.spent) / max(self._next_measurement_s, 1e-6))
        # The last one is due however little time is left.
        measurements = max(1, min(measurements, affordable - trials))
        return measurements, max(0, min(trials, affordable - 1))

    def _steps_left(self) -> int:
        """How many more steps there is time for."""
        remaining_s = self._seconds - self.spent - WRITING_S - sum(self._measurements_left()) * self._next_measurement_s
        mean = sum(self._steps) / len(self._steps)
        return max(0, int(remaining_s / max(mean, 1e-6)))

    def _next_measurement(self, steps: int, step: int) -> int:
        """At equal parts of what is left since the last one, as it is planned now."""
        measurements, _ = self._measurements_left()
        return max(step + 1, self._measured_at + round((steps - self._measured_at) / measurements))

    def state_dict(self) -> dict[str, object]:
        return {"spent": self.spent, "measured": self._measured, "measurement_seconds": self._measurement_s,
                "measured_at": self._measured_at}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        spent, measured, seconds = (state[name] for name in ("spent", "measured", "measurement_seconds"))
        assert isinstance(spent, float)
        assert isinstance(measured, int)
        assert isinstance(seconds, float)
        self._before, self._measured, self._measurement_s = spent, measured, seconds
        # Checkpoints of 0.4 have none.
        measured_at = state.get("measured_at", 0)
        assert isinstance(measured_at, int)
        self._measured_at = measured_at
