"""Everything before the first step, as a list of named stages: from the user's cases to a plan and a recipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from ..datasets.manifest import Manifest, load_manifest
from ..errors import Code, Problem, UserError
from ..events import Reporter, as_problem
from ..models.bundle import Bundle
from ..networks import build_network
from ..organs import LabelSpace
from ..real_paths import real_path
from ..training.network_sizes import size_multiple_of
from ..training.recipe import load_recipe
from ..training.run_files import RunFiles
from ..training.start import check_patch
from ..training.transfer import ClassMap, moved_arguments
from . import PHANTOMS
from .budget import FEW_STEPS, default_minutes, make_budget, network_voxels
from .case_preparation import Translation, prepare_cases
from .cases import PreparedCase
from .data_warnings import data_warnings
from .decisions import (
    RecipeDraft,
    alpha_for,
    alphas_to_try,
    budget_settings,
    check_overrides,
    joined_settings,
    start_settings,
    stroke_settings,
)
from .free_cores import FreeCores
from .holdout import NOTHING, HeldOut, hold_out
from .lineage import lineage_of, run_space
from .measured_on import MeasuredOn
from .options import FinetuneOptions
from .plan import Plan, TimePlan, write_plan
from .replay import Replay, ReplayRequest, make_replay
from .run_folder import CASES_FOLDER, LOOKS_FOLDER, REPLAY_FOLDER
from .run_manifest import REPLAY_SHARE, write_manifest
from .speed import CaseGroup, Speed, fitting_speed, frozen_seconds
from .start_predictions import StartPredictions
from .strokes import draw_rates

# Of the minutes, to see how well the start model knows what is to be learnt; and again, to see what has become of what
# was not.
LOOKING_SHARE = 0.1
# CTs in which that is looked at.
MOST_LOOKS = 3
# Of the minutes, for the first of these CTs: of what no mask shows nothing would be known without one.
FIRST_LOOK_SHARE = 0.3


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
    alpha_set: bool = field(init=False)  # by the recipe's file or the user
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
        return [case for case in self.held.training if case.weight > 0]

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


def check_settings(preparation: Preparation) -> None:
    """Raises UserError for settings that fine-tuning decides itself and a start model that cannot be trained. Sets
    `alpha_set`."""
    request = preparation.request
    check_overrides(request.options.overrides)
    request.start.learner.check_trainable()
    # A user's recipe need not name a manifest: the run writes one.
    recipe = load_recipe(request.recipe_file, ["manifest=m.yaml", *request.options.overrides])
    if recipe.hold_out or (recipe.validation is not None and recipe.validation.share):
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=request.recipe_file,
                        expected="neither hold_out nor validation.share", found="one", hint="see --validate")
    preparation.alpha_set = "alpha" in recipe.model_fields_set


def read_cases(preparation: Preparation) -> None:
    """Reads the manifest's cases and warns of what may be amiss with them. Sets `manifest`, `space`, `classes` and
    `cases`. Raises UserError for cases that nothing can be learnt from or that are no CTs."""
    request, reporter = preparation.request, preparation.reporter
    learner = request.start.learner
    manifest = load_manifest(request.data, reporter)
    space = run_space(request.start.label_space, manifest.label_space, request.options.only_listed)
    cases = prepare_cases(manifest.cases, Translation(manifest.label_space, space), learner.preprocessing.spacing_zyx,
                          request.run / CASES_FOLDER, reporter, request.options.force)
    for warning in data_warnings(cases, space):
        reporter.warning(warning.problem())
    if any(case.soft_targets for case in manifest.cases):
        reporter.warning(Problem(Code.SETTING_IGNORED, "soft_targets", found="fine-tuning takes none",
                                 hint="the start model teaches what a case leaves open"))
    preparation.manifest, preparation.space, preparation.cases = manifest, space, cases
    preparation.classes = ClassMap.between(learner.label_space, space)


def leave_out(preparation: Preparation) -> None:
    """Leaves cases or slabs out of training, to be measured on. Sets `held` and `changed`."""
    request = preparation.request
    names = request.options.validate or preparation.manifest.validation_groups()
    preparation.held = hold_out(preparation.cases, names, request.run / CASES_FOLDER)
    if not any(case.labelled for case in preparation.trained):
        raise UserError(code=Code.NO_LABELS, expected="a labelled case to train on",
                        found="all of them left out by --validate or of weight 0")
    changed: set[int] = set()
    for case in preparation.trained:
        changed.update(case.organs)
    preparation.changed = sorted(changed)
    unmeasured = [label for label in preparation.changed if label not in preparation.held.measured_on]
    if unmeasured and preparation.measures:
        organs = ", ".join(preparation.organ_names(unmeasured))
        preparation.reporter.warning(Problem(
            Code.NOT_MEASURED, "not measured", found=f"{organs} (too few labelled slices to leave some out, or none in "
                                                     "which something is said not to be that organ)"))


def replay_known(preparation: Preparation) -> None:
    """Makes or reads the cases that hold what the start model knew. Sets `replay`."""
    request = preparation.request
    preparation.replay = make_replay(
        ReplayRequest(request.options.replay, preparation.space, request.start.learner.preprocessing.spacing_zyx,
                      preparation.changed, list(preparation.held.measured_on), preparation.measures,
                      {case.image_sha256 for case in preparation.cases}, request.options.force),
        request.run / REPLAY_FOLDER, preparation.reporter)


def look_at_start_model(preparation: Preparation) -> None:
    """Segments cases with the start model: by how well it knows what is to be learnt and by strokes, what the recipe
    has to be. Sets `draft` and `start_predictions`."""
    request = preparation.request
    predictions = StartPredictions(request.start, preparation.space, request.device, request.run / LOOKS_FOLDER)
    preparation.start_predictions = predictions
    dice = predictions.dice(preparation.trained, LOOKING_SHARE * 60 * preparation.minutes, preparation.reporter,
                            {case.name: case for case in preparation.cases})
    settings = start_settings(request.start, preparation.classes, request.run, request.options.name, request.device)
    if not preparation.alpha_set:
        settings["alpha"] = alpha_for(dice)
    settings |= stroke_settings(draw_rates(preparation.trained, predictions, preparation.reporter))
    settings |= joined_settings(request.start, preparation.space, preparation.classes, preparation.changed)
    preparation.draft = RecipeDraft(request.recipe_file, settings, request.options.overrides)


def measure_speed(preparation: Preparation) -> None:
    """Times a step on this machine. Sets `speed` and `size_multiple`, and in `draft` a batch size that the memory is
    enough for. Raises UserError where there is none, and for a patch that the network cannot take."""
    request, draft = preparation.request, preparation.draft
    learner = request.start.learner
    # With its first weights: the trial needs another one anyway, and only its sizes are asked for here.
    network = build_network(learner.network_name, 1, preparation.space.class_count,
                            **moved_arguments(learner.network_arguments, preparation.classes))
    recipe = draft.read()
    check_patch(recipe.preprocessing.patch_zyx, network)
    preparation.size_multiple = size_multiple_of(network)
    preparation.reporter.progress("measuring the speed", 0, 1)
    # Of two patches a step the GPU may have too little memory.
    drafts = [draft]
    if recipe.batch_size > 1:
        drafts.append(draft.with_settings({"batch_size": 1}))
    groups = [CaseGroup(1 - REPLAY_SHARE, preparation.trained), CaseGroup(REPLAY_SHARE, preparation.replay.training)]
    number, preparation.speed = fitting_speed([draft.read() for draft in drafts], learner, preparation.space,
                                              request.device, groups)
    preparation.draft = drafts[number]


def plan_time(preparation: Preparation) -> None:
    """Works out how many steps fit into the time, and what is measured. Completes `draft` and sets `plan`."""
    request, held, measured = preparation.request, preparation.held, preparation.measured
    recipe = preparation.draft.read()
    alphas = alphas_to_try(recipe.alpha, preparation.alpha_set, held) if measured else []
    # A joined model is measured once more when it is divided among its members.
    trials = len(alphas) + bool(measured and request.start.members)
    # Beside the network that learns, each of a joined model's other members segments the measured CTs once.
    asking = frozen_seconds(request.start, [case.shape for case in measured], request.device)
    measured_on = {}
    # Of an organ that both measure, the user's own cases have the last word.
    for label, kind in {**preparation.replay.measured_on, **held.measured_on}.items():
        measured_on[preparation.space.names[label - 1]] = kind
    looks = _looks(preparation, measured_on)
    spent = time.monotonic() - preparation.began
    budget = make_budget(preparation.minutes - (spent + asking + looks.seconds) / 60, preparation.speed, recipe,
                         [case.measured_shape or case.shape for case in measured], preparation.size_multiple,
                         request.device, sum(case.labelled for case in preparation.trained), request.options.steps,
                         trials)
    if request.options.steps is None and budget.steps < FEW_STEPS:
        preparation.reporter.warning(Problem(
            Code.FEW_STEPS, "--minutes", expected=f"time for {FEW_STEPS} steps or more",
            found=f"{preparation.minutes:g} minutes, enough for {budget.steps}", hint="little can be learnt"))
    time_plan = None
    if request.options.steps is None:
        time_plan = TimePlan(seconds=budget.seconds + asking, steps=budget.steps, measurements=budget.measurements,
                             measurement_seconds=budget.measurement_seconds, trials=budget.trials)
    changed = preparation.organ_names(preparation.changed)
    synthetic = [name for name, kind in measured_on.items() if kind is MeasuredOn.PHANTOMS]
    preparation.draft = preparation.draft.with_settings(
        budget_settings(budget, measured, changed, alphas, synthetic))
    images = [*preparation.trained, *held.measured, *preparation.replay.training, *preparation.replay.measured]
    preparation.plan = Plan(
        start=real_path(request.start.folder), data=real_path(request.data),
        lineage=lineage_of(request.start, preparation.cases, preparation.trained, preparation.space), changed=changed,
        kept=[name for name in preparation.space.names if name not in changed], measured_on=measured_on,
        steps=budget.steps, minutes=round((budget.seconds + asking + looks.seconds) / 60, 1), time=time_plan,
        said=[dict(event) for event in preparation.reporter.events],
        images={case.image: case.image_sha256 for case in images}, patients=_patients(preparation),
        looked_at=looks.images, take_new=request.options.take_new)


def _patients(preparation: Preparation) -> dict[Path, str]:
    """Of the real CTs that are measured on, the image file to its patient."""
    cases = list(preparation.held.measured)
    if preparation.request.options.replay != PHANTOMS:
        cases += preparation.replay.measured
    return {case.image: case.group for case in cases}


class Looks(NamedTuple):
    """CTs that both models are to segment, with their checksums, and how long that takes."""

    images: dict[Path, str]
    seconds: float


def _looks(preparation: Preparation, measured_on: Mapping[str, MeasuredOn]) -> Looks:
    """The CTs in which organs are looked at that no real mask measures: those left out first, then those without
    labels, as the network learns from neither; as many as the time allows."""
    request, predictions = preparation.request, preparation.start_predictions
    known = {name for name, kind in measured_on.items() if kind is not MeasuredOn.PHANTOMS}
    known.update(preparation.organ_names(preparation.changed))
    if known.issuperset(preparation.space.names):
        return Looks({}, 0.0)
    unlabelled = [case for case in preparation.cases if not case.labelled]
    images: dict[Path, str] = {}
    seconds = 0.0
    for case in (*preparation.held.measured, *unlabelled, *preparation.trained):
        if len(images) == MOST_LOOKS or case.image_sha256 in images.values():
            continue
        if predictions.seconds:
            for_one = sum(predictions.seconds) / len(predictions.seconds)
        else:
            for_one = frozen_seconds(request.start, [case.shape], request.device)
            for_one += preparation.speed.voxel * network_voxels(case.shape, preparation.draft.read(),
                                                                preparation.size_multiple)
        # By the new model, and by the start model where that was not done yet.
        cost = for_one if predictions.exist(case) else 2 * for_one
        share = LOOKING_SHARE if images else FIRST_LOOK_SHARE
        if seconds + cost <= share * 60 * preparation.minutes:
            images[case.image] = case.image_sha256
            seconds += cost
    return Looks(images, seconds)


def write_files(preparation: Preparation) -> None:
    """Writes the run's manifest, recipe and, last, its plan, with which it counts as prepared."""
    run = preparation.request.run
    write_manifest(run, preparation.space, preparation.trained, preparation.replay, preparation.held.measured)
    RunFiles(run).write_recipe(preparation.draft.read())
    # Last: with a plan a run counts as prepared, and can be resumed.
    write_plan(run, preparation.plan)


class PreparationStage(NamedTuple):
    """A step of the preparation: what it is called, and what it does."""

    name: str
    work: Callable[[Preparation], None]


STAGES = (
    PreparationStage("check the settings", check_settings),
    PreparationStage("read the cases", read_cases),
    PreparationStage("leave something out to measure on", leave_out),
    PreparationStage("replay what the start model knew", replay_known),
    PreparationStage("look at what the start model knows", look_at_start_model),
    PreparationStage("measure the speed", measure_speed),
    PreparationStage("plan the time", plan_time),
    PreparationStage("write the files", write_files),
)


def prepare(request: Request, reporter: Reporter) -> Plan:
    """Writes plan.json, recipe.yaml, the manifest and the cases' candidate maps into the run folder; warns of the data.

    Raises UserError for cases that nothing can be learnt from or that are no CTs.
    """
    preparation = Preparation(request, WarningRecorder(reporter))
    for number, stage in enumerate(STAGES):
        reporter.progress(f"preparing: {stage.name}", number, len(STAGES))
        preparation.cores.use()
        stage.work(preparation)
    return preparation.plan
