"""Everything before the first step, as a list of named stages: from the user's cases to a plan and a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..datasets.manifest import load_manifest
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..networks import build_network
from ..training.network_sizes import size_multiple_of, slices_of
from ..training.recipe import load_recipe
from ..training.run_files import RunFiles
from ..training.start import check_patch
from ..training.transfer import ClassMap, moved_arguments
from . import PHANTOMS
from .case_preparation import Translation, prepare_cases
from .data_warning import DataWarning, DataWarningKind
from .data_warnings import data_warnings
from .decisions import (
    RecipeDraft,
    alpha_for,
    beside_settings,
    check_overrides,
    joined_settings,
    rate_for,
    start_settings,
    stroke_settings,
)
from .holdout import hold_out
from .lineage import images_learnt_by, run_space
from .measured_on import MeasuredOn
from .plan import Plan, write_plan
from .preparation_state import Preparation, Request, WarningRecorder
from .replay import Replay, ReplayRequest, make_replay
from .run_folder import CASES_FOLDER, LOOKS_FOLDER, REPLAY_FOLDER
from .run_manifest import REPLAY_SHARE, write_manifest
from .speed import CaseGroup, fitting_speed
from .start_predictions import StartPredictions
from .strokes import draw_rates
from .time_planning import plan_time

# Of Dice: masks in three CTs brought a start model with 0.3 of three organs 0.12 to 0.24 beside it, 0.03 in place, one
# with 0.6 of them nothing (docs/results/fine-tuning.md).
KNOWS_LITTLE_BELOW = 0.45
# Of the minutes, to see how well the start model knows what is to be learnt.
LOOKING_SHARE = 0.1


def check_settings(preparation: Preparation) -> None:
    """Raises UserError for settings that fine-tuning decides itself and a start model that cannot be trained. Sets
    `alpha_set` and `rate_set`."""
    request = preparation.request
    check_overrides(request.options.overrides)
    request.start.learner.check_trainable()
    # A user's recipe need not name a manifest: the run writes one.
    recipe = load_recipe(request.recipe_file, ["manifest=m.yaml", *request.options.overrides])
    if recipe.hold_out or (recipe.validation is not None and recipe.validation.share):
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=request.recipe_file,
                        expected="neither hold_out nor validation.share", found="one", hint="see --validate")
    preparation.alpha_set = "alpha" in recipe.model_fields_set
    preparation.rate_set = "learning_rate" in recipe.optimiser.model_fields_set


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
    learnt_before = images_learnt_by(request.start)
    held = hold_out(preparation.cases, names, request.run / CASES_FOLDER, learnt_before)
    preparation.held = held
    # A slab is of a CT that is trained on anyway.
    for case in held.measured if MeasuredOn.CASES in held.measured_on.values() else ():
        if case.image_sha256 in learnt_before:
            preparation.reporter.warning(DataWarning(DataWarningKind.LEARNT_BEFORE, case.name).problem())
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
    # Beside a start model that stays whole there is nothing to hold.
    if request.options.beside and request.options.replay == PHANTOMS:
        preparation.replay = Replay()
        return
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
    if dice is not None and dice < KNOWS_LITTLE_BELOW and not request.options.beside:
        preparation.reporter.warning(Problem(
            Code.KNOWS_LITTLE, found=f"the start model has {dice:.2f} of what is to be learnt, as mean Dice",
            hint="a copy that learns beside it (finetune --beside, learn --beside always) learns more and leaves the "
                 "other organs to it; segmenting takes longer"))
    settings = start_settings(request.start, preparation.classes, request.run, request.options.name, request.device)
    if not preparation.alpha_set:
        settings["alpha"] = alpha_for(dice)
        # Beside a start model that knows none of it, its weights have no part in what is learnt.
        if request.options.beside and set(preparation.changed) <= set(preparation.classes.new):
            settings["alpha"], preparation.alpha_set = 1.0, True
    if not preparation.rate_set:
        settings["optimiser.learning_rate"] = rate_for(dice, request.options.beside)
    settings |= stroke_settings(draw_rates(preparation.trained, predictions, preparation.reporter))
    beside = request.options.beside
    settings |= joined_settings(request.start, preparation.space, preparation.classes, preparation.changed, beside)
    if beside:
        settings |= beside_settings(preparation.from_drawings_alone)
    preparation.draft = RecipeDraft(request.recipe_file, settings, request.options.overrides)


def measure_speed(preparation: Preparation) -> None:
    """Times a step on this machine. Sets `speed` and `size_multiple`, and in `draft` changes of patches that suit a
    network of slices, and a batch size that the memory is enough for. Raises UserError where there is none, and for a
    patch that the network cannot take."""
    request, draft = preparation.request, preparation.draft
    learner = request.start.learner
    # With its first weights: the trial needs another one anyway, and only its sizes are asked for here.
    network = build_network(learner.network_name, 1, preparation.space.class_count,
                            **moved_arguments(learner.network_arguments, preparation.classes))
    recipe = draft.read()
    check_patch(recipe.preprocessing.patch_zyx, network)
    preparation.size_multiple = size_multiple_of(network)
    # A turned "slice" would go through a dozen of the scan's, which the network has never seen.
    if slices_of(network) is not None and "in_plane" not in recipe.augmentation.model_fields_set:
        draft = draft.with_settings({"augmentation.in_plane": True})
    preparation.reporter.progress("measuring the speed", 0, 1)
    # Of two patches a step the GPU may have too little memory.
    drafts = [draft]
    if recipe.batch_size > 1:
        drafts.append(draft.with_settings({"batch_size": 1}))
    groups = [CaseGroup(1 - REPLAY_SHARE, preparation.trained), CaseGroup(REPLAY_SHARE, preparation.replay.training)]
    number, preparation.speed = fitting_speed([draft.read() for draft in drafts], learner, preparation.space,
                                              request.device, groups)
    preparation.draft = drafts[number]


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
