"""How the learning rate changes within a stage: a factor of it, step by step."""

from __future__ import annotations

from typing import Any

from ..registry import Registry


class Schedule:
    """A constant learning rate, and what the others share: the linear warm-up and a state for the checkpoint.

    `steps` is the stage's length, which the library gives; of a recipe's settings a schedule gets those whose names
    are among its arguments.
    """

    def __init__(self, steps: int, warmup_steps: int = 0) -> None:
        self.steps, self.warmup_steps = steps, warmup_steps

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied with at `step` of the stage, from 0."""
        return min(1.0, (step + 1) / max(1, self.warmup_steps)) * self.decay(step)

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


SCHEDULES: Registry[type[Schedule]] = Registry("schedule", group="partialorganseg.schedules", base=Schedule)


@SCHEDULES.register("poly")
class Poly(Schedule):
    """`(1 - step / steps) ** decay_power`: zero after the last step."""

    def __init__(self, steps: int, warmup_steps: int = 0, decay_power: float = 0.9) -> None:
        super().__init__(steps, warmup_steps)
        self.decay_power = decay_power

    def decay(self, step: int) -> float:
        return float((1 - step / self.steps) ** self.decay_power)


@SCHEDULES.register("step")
class Step(Schedule):
    """`factor` once more after every `every` steps."""

    def __init__(self, steps: int, warmup_steps: int = 0, factor: float = 0.8, every: int = 1000) -> None:
        super().__init__(steps, warmup_steps)
        self.cut, self.every = factor, every

    def decay(self, step: int) -> float:
        return self.cut ** (step // self.every)


@SCHEDULES.register("plateau", source="Shi 2021, section 4.2")
class Plateau(Schedule):
    """`factor` once more when an epoch's mean loss is less than `least_gain` below that of `patience` epochs before.

    After a cut the next one waits `patience` epochs again (Shi 2021, section 4.2).
    """

    def __init__(self, steps: int, warmup_steps: int = 0, factor: float = 0.8, epoch_steps: int = 250,
                 patience: int = 10, least_gain: float = 1e-3) -> None:
        super().__init__(steps, warmup_steps)
        self.cut, self.epoch_steps, self.patience, self.least_gain = factor, epoch_steps, patience, least_gain
        self._factor, self._sum, self._count = 1.0, 0.0, 0
        # Of the epochs since the last cut, and of the one that it came after.
        self._means: list[float] = []

    def decay(self, step: int) -> float:
        return self._factor

    def observe(self, loss: float) -> None:
        self._sum, self._count = self._sum + loss, self._count + 1
        if self._count < self.epoch_steps:
            return
        self._means.append(self._sum / self._count)
        self._sum, self._count = 0.0, 0
        patience = self.patience
        if len(self._means) > patience and self._means[-1 - patience] - self._means[-1] < self.least_gain:
            self._factor *= self.cut
            self._means = self._means[-1:]

    def state_dict(self) -> dict[str, Any]:
        return {"factor": self._factor, "sum": self._sum, "count": self._count, "means": self._means}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._factor, self._sum, self._count = state["factor"], state["sum"], state["count"]
        self._means = list(state["means"])


SCHEDULES.add("constant", Schedule)
