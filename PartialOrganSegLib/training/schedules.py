"""How the learning rate changes within a stage: a factor of it, step by step."""

from __future__ import annotations

from typing import Any

from .settings import OptimiserSettings, ScheduleSettings


class Schedule:
    """A constant learning rate, and what the others share: the linear warm-up and a state for the checkpoint."""

    def __init__(self, settings: ScheduleSettings, optimiser: OptimiserSettings, steps: int) -> None:
        self.settings, self.optimiser, self.steps = settings, optimiser, steps

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied with at `step` of the stage, from 0."""
        return min(1.0, (step + 1) / max(1, self.optimiser.warmup_steps)) * self.decay(step)

    def decay(self, step: int) -> float:
        """The factor without the warm-up."""
        return 1.0

    def observe(self, loss: float) -> None:
        """Takes note of a step's loss."""

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to a state."""


class Poly(Schedule):
    """`(1 - step / steps) ** decay_power`: zero after the last step."""

    def decay(self, step: int) -> float:
        return (1 - step / self.steps) ** self.optimiser.decay_power


class Step(Schedule):
    """`factor` once more after every `every` steps."""

    def decay(self, step: int) -> float:
        return self.settings.factor ** (step // self.settings.every)


class Plateau(Schedule):
    """`factor` once more when an epoch's mean loss is less than `least_gain` below that of `patience` epochs before.

    After a cut the next one waits `patience` epochs again (Shi 2021, section 4.2).
    """

    def __init__(self, settings: ScheduleSettings, optimiser: OptimiserSettings, steps: int) -> None:
        super().__init__(settings, optimiser, steps)
        self._factor, self._sum, self._count = 1.0, 0.0, 0
        self._means: list[float] = []  # of the epochs since the last cut

    def decay(self, step: int) -> float:
        return self._factor

    def observe(self, loss: float) -> None:
        self._sum, self._count = self._sum + loss, self._count + 1
        if self._count < self.settings.epoch_steps:
            return
        self._means.append(self._sum / self._count)
        self._sum, self._count = 0.0, 0
        patience = self.settings.patience
        if len(self._means) > patience and self._means[-1 - patience] - self._means[-1] < self.settings.least_gain:
            self._factor *= self.settings.factor
            self._means = []

    def state_dict(self) -> dict[str, Any]:
        return {"factor": self._factor, "sum": self._sum, "count": self._count, "means": self._means}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._factor, self._sum, self._count = state["factor"], state["sum"], state["count"]
        self._means = list(state["means"])


SCHEDULES = {"poly": Poly, "step": Step, "plateau": Plateau, "constant": Schedule}


def build_schedule(settings: ScheduleSettings, optimiser: OptimiserSettings, steps: int) -> Schedule:
    """The schedule of a stage of `steps` steps."""
    return SCHEDULES[settings.name](settings, optimiser, steps)
