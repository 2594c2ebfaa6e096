"""A fine-tuning run while it is prepared: what it is to be made of, and what is known of it so far."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..annotation import Kind
from ..datasets.manifest import Manifest
from ..errors import Problem
from ..events import Reporter, as_problem
from ..models.bundle import Bundle
from ..organs import LabelSpace
from ..training.transfer import ClassMap
from .budget import default_minutes
from .cases import PreparedCase
from .decisions import RecipeDraft
from .free_cores import FreeCores
from .holdout import NOTHING, HeldOut
from .options import FinetuneOptions
from .plan import Plan
from .replay import Replay
from .speed import Speed
from .start_predictions import StartPredictions


@dataclass(frozen=True)
class Request:
    """What a run is to be made of: the `start` model and the manifest `data`, in the folder `run`, by the recipe of
    `recipe_file` on `device`, with the user's `options`."""

    start: Bundle
    data: Path
    run: Path
    recipe_file: Path
    device: torch.device
    options: FinetuneOptions


class WarningRecorder(Reporter):
    """Passes all on, and records warnings as JSON events have them."""

    def __init__(self, reporter: Reporter) -> None:
        self.events: list[Mapping[str, object]] = []
        self._reporter = reporter

    def progress(self, stage: str, done: int, total: int) -> None:
        self._reporter.progress(stage, done, total)

    def error(self, message: str | Problem) -> None:
        self._reporter.error(message)

    def warning(self, message: str | Problem) -> None:
        self.events.append(as_problem(message).as_event())
        self._reporter.warning(message)


@dataclass
class Preparation:
    """What is known of a run so far. Each stage reads what those before it have set and sets its own attributes; which
    these are, its docstring says."""

    request: Request
    reporter: WarningRecorder
    began: float = field(default_factory=time.monotonic)
    cores: FreeCores = field(init=False)
    manifest: Manifest = field(init=False)
    space: LabelSpace = field(init=False)  # the run's
    classes: ClassMap = field(init=False)  # from the classes of the network that learns to the run's
    cases: list[PreparedCase] = field(init=False)
    held: HeldOut = field(init=False)
    changed: list[int] = field(init=False)  # labels of the organs that are to be learnt
    replay: Replay = field(init=False)
    alpha_set: bool = field(init=False)  # so that no others are tried: by the recipe's file or the user
    rate_set: bool = field(init=False)  # the learning rate, by these
    draft: RecipeDraft = field(init=False)
    start_predictions: StartPredictions = field(init=False)
    size_multiple: tuple[int, int, int] = field(init=False)  # of the network
    speed: Speed = field(init=False)
    plan: Plan = field(init=False)

    def __post_init__(self) -> None:
        self.cores = FreeCores(self.request.device)

    @property
    def trained(self) -> list[PreparedCase]:
        """The run's own cases that patches are drawn from."""
        cases = [case for case in self.held.training if case.weight > 0]
        if self.from_drawings_alone:
            cases = [case for case in cases if case.labelled]
        return cases

    @property
    def from_drawings_alone(self) -> bool:
        """Whether a copy learns beside the start model from masks that all show the same organs: then a voxel that is
        none of them is known not to be, and what the start model says of it is no matter."""
        if not self.request.options.beside:
            return False
        labelled = [case for case in self.held.training if case.weight > 0 and case.labelled]
        shown = {tuple(sorted(case.organs)) for case in labelled}
        return len(shown) == 1 and all(case.kind is not Kind.SCRIBBLE for case in labelled)

    @property
    def measured(self) -> list[PreparedCase]:
        """All cases that Dice is measured on."""
        return [*self.held.measured, *self.replay.measured]

    @property
    def measures(self) -> bool:
        """Whether anything may be left out to be measured on."""
        return list(self.request.options.validate) != [NOTHING]

    @property
    def minutes(self) -> float:
        """The time that the run may take."""
        minutes = self.request.options.minutes
        return default_minutes(self.request.device) if minutes is None else minutes

    def organ_names(self, labels: Sequence[int]) -> list[str]:
        """Names of the run's organs."""
        return [self.space.names[label - 1] for label in labels]
