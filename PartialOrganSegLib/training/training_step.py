"""One step of learning: the network, its moving average, the optimiser and the losses of a stage."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection
from dataclasses import replace

import torch
from torch import nn

from ..errors import Code, UserError
from ..loading.targets import SoftMap, Targets, central
from ..networks import set_phase
from ..networks.precision import computing_in
from ..segmenting.backend import computes_bfloat16
from .averaging import MovingAverage
from .checkpoint import Checkpoint, TrainingStepState
from .distributed import Processes
from .objective import Objective
from .optimisation import build_optimiser, build_schedule, set_rates, train_only
from .pseudo_labels import Snapshot
from .settings import PseudoLabelSettings, Stage


class NotFiniteError(Exception):
    """The loss or the gradient of a step is no number."""


def precision_of(half_precision: bool | str, device: torch.device) -> torch.dtype:
    """What layers compute in with a recipe's `half_precision`: float32 too where a CPU has no bfloat16, which it would
    take several times as long to imitate."""
    if half_precision == "float16":
        return torch.float16
    if half_precision and (device.type != "cpu" or computes_bfloat16()):
        return torch.bfloat16
    return torch.float32


class TrainingStep:
    """Learns step by step; `begin` starts a stage. `teacher` is a frozen network in eval mode, or None.

    `table` (K, C) bool is the candidate table. All tensors lie on `device`. `class_layers`: names of the parameters
    that grow with the number of classes, where a stage has another rate for them.
    """

    def __init__(self, network: nn.Module, teacher: nn.Module | None, table: torch.Tensor, device: torch.device,
                 half_precision: bool | str, processes: Processes, class_layers: Collection[str] = ()) -> None:
        if half_precision == "float16" and device.type != "cuda":
            raise UserError(code=Code.VALUE_UNFIT, subject="half_precision", expected=f"true or false on {device.type}",
                            found="'float16'")
        self.network, self.teacher, self.table = network, teacher, table
        self.device, self.processes = device, processes
        self._precision = precision_of(half_precision, device)
        self.average = MovingAverage(network, 0.0)
        self.scaler = torch.amp.GradScaler(device.type, enabled=half_precision == "float16")
        self.snapshot: Snapshot | None = None
        self._class_layers = frozenset(class_layers)

    def begin(self, stage: Stage, objective: Objective) -> None:
        """Starts a stage with a fresh optimiser. Weights and their average go on."""
        self.stage, self.objective = stage, objective.to(self.device)
        if stage.phase is not None:
            set_phase(self.network, stage.phase)
        self.trained = train_only(self.network, stage.train_parameters)
        of_classes = [parameter for name, parameter in self.network.named_parameters() if name in self._class_layers]
        self.optimiser = build_optimiser(stage.optimiser, self.trained, objective.dual_parameters(), of_classes)
        self.schedule = build_schedule(stage.schedule, stage.optimiser, stage.steps)
        self.average.decay = stage.optimiser.ema
        self.snapshot = None
        if stage.pseudo_labels is not None:
            self.snapshot = Snapshot(self.network, self.table, stage.pseudo_labels.every,
                                     stage.pseudo_labels.least_confidence)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Reduced precision where the recipe wants it."""
        return computing_in(self.device, self._precision)

    def step(self, number: int, stage_step: int, targets: Targets) -> dict[str, float]:
        """Step `number` of the run, from 1, and `stage_step` of the stage, from 0; gives its figures.

        `targets`, with image, are this process's part of the mini-batch.
        Raises NotFiniteError, with weights and average as they were before.
        """
        factor = self.schedule.factor(stage_step)
        set_rates(self.optimiser, factor)
        loss, terms = self._loss(stage_step, targets.to(self.device))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NotFiniteError(f"the loss is {value}")
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        # Every process has the loss of the whole mini-batch, but gradients through its own part alone.
        self.processes.sum_gradients(self.trained)
        self.scaler.unscale_(self.optimiser)
        bound = self.stage.optimiser.clip_gradient
        norm = float(nn.utils.clip_grad_norm_(self.trained, math.inf if bound is None else bound))
        # With float16 large gradients are expected: the scaler skips such a step and scales less from then on.
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            raise NotFiniteError("the gradient is not finite")
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.average.update(self.network, number)
        self.schedule.observe(value)
        return {"loss": value, **terms, "gradient": norm,
                "learning_rate": self.stage.optimiser.learning_rate * factor}

    def _loss(self, stage_step: int, targets: Targets) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of the whole mini-batch, of all processes, and its terms."""
        assert targets.image is not None
        gather, pseudo_map = self.processes.gather, None
        image = targets.image.contiguous(memory_format=torch.channels_last_3d)
        targets = replace(targets, image=image, voxels_per_set=self.stage.voxels_per_set,
                          soft=self._soft_of_every_process(targets))
        with self.autocast():
            if self.snapshot is not None and self.stage.pseudo_labels is not None:
                self._renew_snapshot(self.snapshot, self.stage.pseudo_labels, stage_step)
                pseudo_map = self.snapshot.fill(image, targets.candidate_map, self.processes)
            if self.objective.needs_teacher and self.teacher is not None:
                with torch.no_grad():
                    targets = replace(targets, teacher=self.teacher(image))
            outputs = self.network(image)
        # Several outputs are those of deep supervision, the finest first.
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        size = outputs[0].shape[2:]
        targets = targets.central(size).changed(gather)
        if pseudo_map is not None:
            pseudo_map = gather(central(pseudo_map, size))
        loss, terms = self.objective([gather(output) for output in outputs], targets, pseudo_map)
        return loss, terms

    def _renew_snapshot(self, snapshot: Snapshot, settings: PseudoLabelSettings, stage_step: int) -> None:
        if not snapshot.due(stage_step):
            return
        if settings.weights == "average":
            snapshot.renew(self.average.values)
        else:
            snapshot.renew(self.network.state_dict())

    def _soft_of_every_process(self, targets: Targets) -> SoftMap | None:
        """This process's soft targets; where only others have some, zeros to gather with theirs."""
        if not self.objective.needs_soft_targets:
            return None
        # Every process has to come here, with soft targets or without: the answer is gathered from all.
        in_any_process = self.processes.any(targets.soft is not None, self.device)
        if targets.soft is not None or not in_any_process:
            return targets.soft
        batch, *spatial = targets.candidate_map.shape
        shape = (batch, len(self.objective.soft_sets), *spatial)
        return SoftMap(torch.zeros(shape, dtype=torch.uint8, device=self.device), self.objective.soft_sets)

    def state(self) -> TrainingStepState:
        """What `load` needs to go on, beside the stage."""
        return {"network": self.network.state_dict(), "average": self.average.values,
                "snapshot": None if self.snapshot is None else self.snapshot.network.state_dict(),
                "class_confidence": None if self.snapshot is None else self.snapshot.class_confidence,
                "optimiser": self.optimiser.state_dict(), "schedule": dict(self.schedule.state_dict()),
                "scaler": self.scaler.state_dict(), "losses": self.objective.state_dict()}

    def load(self, state: Checkpoint) -> None:
        """Goes back to a state of the stage that was begun."""
        self.network.load_state_dict(state["network"])
        self.average.load(state["average"])
        if self.snapshot is not None and state["snapshot"] is not None:
            self.snapshot.renew(state["snapshot"])
            confidence = state.get("class_confidence")
            if confidence is not None:  # none in checkpoints from before there were bounds
                self.snapshot.class_confidence.copy_(confidence)
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.objective.load_state_dict(state["losses"])
