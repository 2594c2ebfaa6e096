"""Where a run is, and all it needs to go on from there: what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .best_figures import BestFigures
from .checkpoint import Checkpoint, random_states, save_checkpoint, set_random_states
from .hooks import Hook
from .training_step import TrainingStep


@dataclass
class RunState:
    """`step` counts the steps done. `stage` is the number of the stage the run is in, one too high when it is done;
    the stage began at `stage_start`. `stage_plan`: how many steps it has and after which one of them Dice is measured
    next, where a hook has decided that. `best`: the best figures of the stage so far.

    `stage_done`: the stage has had its steps and measurements, and the next one is not begun yet.
    `measurement_due`: the last step's measurement was broken off and is made up for on resuming. `settings` decide the
    run's numbers. `hooks` are those with a state of their own, by name.
    """

    training_step: TrainingStep
    best: BestFigures
    settings: Mapping[str, object]
    hooks: Mapping[str, Hook]
    step: int = 0
    stage: int = 0
    stage_start: int = 0
    measurement_due: bool = False
    stage_done: bool = False
    stage_plan: tuple[int, int] | None = None

    @property
    def stage_step(self) -> int:
        """How many steps of the stage are done."""
        return self.step - self.stage_start

    def save(self, path: Path) -> None:
        """Writes all of it. Raises UserError on a full disk."""
        hooks = {name: hook.state_dict() for name, hook in self.hooks.items()}
        save_checkpoint(path, {
            **self.training_step.state(), "step": self.step, "stage": self.stage, "stage_start": self.stage_start,
            "validation": self.best.state_dict(), "random": random_states(), "settings": dict(self.settings),
            "unmeasured": self.measurement_due, "stage_done": self.stage_done,
            "hooks": hooks, "stage_plan": self.stage_plan})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes back to a checkpoint's state, whose stage was begun. Hooks that it does not know begin anew."""
        self.step, self.stage, self.stage_start = checkpoint["step"], checkpoint["stage"], checkpoint["stage_start"]
        self.measurement_due = checkpoint.get("unmeasured", False)
        self.stage_done = checkpoint.get("stage_done", False)
        self.stage_plan = checkpoint.get("stage_plan")
        self.training_step.load(checkpoint)
        self.best.restore(checkpoint["validation"])
        states = checkpoint.get("hooks", {})
        for name, hook in self.hooks.items():
            if name in states:
                hook.load_state_dict(states[name])
        set_random_states(checkpoint["random"])
