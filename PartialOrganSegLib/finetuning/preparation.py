"""Everything before the first step: cases looked at, a part left out, replay made, the time worked out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from ..annotation import Kind
from ..atomic import whole_file
from ..datasets.manifest import LONGEST_NAME, load_manifest
from ..errors import Code, Problem, UserError
from ..events import Reporter, as_problem
from ..label_space_file import LabelSpaceEntry
from ..models.bundle import Bundle
from ..models.checksums import MANIFEST, sha256
from ..models.metadata import LearntEntry, Lineage, ParentEntry
from ..networks import build_network
from ..organs import LabelSpace, label_space_of_names
from ..training.learner import NotFiniteError
from ..training.memory import is_out_of_memory
from ..training.recipe import RECIPE_FILE, Recipe, load_recipe
from ..training.start import check_patch
from ..training.transfer import ClassMap, moved_arguments
from . import PHANTOMS
from .budget import Speed, default_minutes, frozen_seconds, make_budget, measure_speed
from .cases import MEASURED, TRAINED, TakenCase, fingerprint, take_cases
from .data_warnings import data_warnings
from .decisions import (
    budget_settings,
    check_overrides,
    joined_settings,
    share_for,
    shares_to_try,
    stroke_settings,
    tuned_recipe,
)
from .holdout import NOTHING, hold_out
from .plan import Plan, write_json, write_plan
from .replay import Replay, replay_set
from .run_folder import CASES_FOLDER, LABEL_SPACE_FILE, MANIFEST_FILE, REPLAY_FOLDER
from .start_view import StartView
from .strokes import draw_rates

REPLAY_SHARE = 0.25  # of the patches
LOOKING_SHARE = 0.1  # of the minutes, to see how well the start model knows what is to be learnt


@dataclass(frozen=True)
class Wishes:
    """What a user may say about a run; None and empty leave it to the run.

    `replay`: "phantoms", "none" or a manifest's path. `validate`: cases or groups of them to measure on, or "none".
    `only_listed`: the model's organs become the manifest's, instead of the start model's and the manifest's new ones.
    `force`: images that do not look like a CT are learnt from all the same. `overrides`: "key=value" changes of the
    recipe.
    """

    minutes: float | None = None
    steps: int | None = None
    replay: str = PHANTOMS
    validate: Sequence[str] = ()
    only_listed: bool = False
    force: bool = False
    name: str | None = None
    overrides: Sequence[str] = ()


def prepare(start: Bundle, data: Path, run: Path, recipe_file: Path, device: torch.device, wishes: Wishes,
            reporter: Reporter) -> Plan:
    """Writes plan.json, recipe.yaml, the manifest and the cases' code maps into `run`; warns of the data.

    Raises UserError for cases that nothing can be learnt from or that are no CTs.
    """
    clock = time.monotonic()
    check_overrides(wishes.overrides)
    learner = start.learner
    learner.check_trainable()
    own = load_recipe(recipe_file, ["manifest=m.yaml", *wishes.overrides])
    if own.hold_out or (own.validation is not None and own.validation.share):
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=recipe_file,
                        expected="neither hold_out nor validation.share", found="one", hint="see --validate")
    asked = "start_share" in own.model_fields_set
    said = _Listener(reporter)
    manifest = load_manifest(data, said)
    space = run_space(start.label_space, manifest.label_space, wishes.only_listed)
    spacing = learner.preprocessing.spacing_zyx
    cases = take_cases(manifest.cases, manifest.label_space, space, spacing, run / CASES_FOLDER, said,
                       force=wishes.force)
    for warning in data_warnings(cases, space):
        said.warning(warning.problem())
    if any(case.soft_targets for case in manifest.cases):
        said.warning(Problem(Code.SETTING_IGNORED, "soft_targets", found="fine-tuning takes none",
                             hint="the start model teaches what a case leaves open"))
    measure = list(wishes.validate) != [NOTHING]
    held = hold_out(cases, wishes.validate or manifest.validation_groups(), run / CASES_FOLDER)
    trained = [case for case in held.training if case.weight > 0]
    changed = sorted({label for case in trained for label in case.organs})
    if not any(case.labelled for case in trained):
        raise UserError(code=Code.NO_LABELS, expected="a labelled case to train on",
                        found="all of them left out by --validate or of weight 0")
    unmeasured = [space.names[label - 1] for label in changed if label not in held.measured_on]
    if unmeasured and measure:
        said.warning(Problem(Code.NOT_MEASURED, "not measured",
                             found=f"{', '.join(unmeasured)} (too few labelled slices to leave some out, or none in "
                                   "which something is said not to be that organ)"))
    replay = replay_set(wishes.replay, space, spacing, changed, list(held.measured_on), measure,
                        run / REPLAY_FOLDER, said, {case.image_sha256 for case in cases}, wishes.force)
    measured = [*held.measured, *replay.measured]
    classes = ClassMap.between(learner.label_space, space)
    names = [space.names[label - 1] for label in changed]
    minutes = default_minutes(device) if wishes.minutes is None else wishes.minutes
    view = StartView(start, space, device)
    known = view.dice(trained, LOOKING_SHARE * 60 * minutes, said, {case.name: case for case in cases})
    decided = {} if asked else {"start_share": share_for(known)}
    rates = draw_rates(trained, view, reporter)
    del view  # the device's memory is the training's now
    decided |= stroke_settings(rates) | joined_settings(start, space, classes, changed)

    def read_recipe(changes: dict[str, Any]) -> Recipe:
        return tuned_recipe(recipe_file, start, classes, run, wishes.name, device, decided | changes,
                            wishes.overrides)

    network = build_network(learner.network_name, 1, space.class_count,
                            **moved_arguments(learner.network_arguments, classes))
    check_patch(read_recipe({}).patch_zyx, network)
    reporter.progress("measuring the speed", 0, 1)
    smaller, speed = _speed(read_recipe, learner, space, device,
                            [(1 - REPLAY_SHARE, trained), (REPLAY_SHARE, replay.training)])
    recipe = read_recipe(smaller)
    shares = shares_to_try(recipe.start_share, asked, held) if measured else []
    shapes = [case.seen or case.shape for case in measured]
    asking = frozen_seconds(start, [case.shape for case in measured], device)
    budget = make_budget(minutes - (time.monotonic() - clock + asking) / 60, speed, recipe, shapes,
                         network.size_multiple, device, sum(case.labelled for case in trained), wishes.steps,
                         len(shares))
    recipe = read_recipe(smaller | budget_settings(budget, measured, names, shares))
    _write_manifest(run, space, trained, replay, held.measured)
    with whole_file(run / RECIPE_FILE) as temporary:
        temporary.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    on = {space.names[label - 1]: what for label, what in (replay.measured_on | held.measured_on).items()}
    plan = Plan(start=start.folder.resolve(), data=Path(data).resolve(),
                lineage=_lineage(start, cases, trained, space), changed=names,
                kept=[name for name in space.names if name not in names], measured_on=on,
                steps=budget.steps, minutes=round((budget.seconds + asking) / 60, 1), said=said.events,
                images={case.image: case.image_sha256 for case in (*trained, *held.measured, *replay.training,
                                                                   *replay.measured)})
    write_plan(run, plan)
    return plan


def _speed(read_recipe: Callable[[dict[str, Any]], Recipe], learner: Bundle, space: LabelSpace, device: torch.device,
           groups: Sequence[tuple[float, Sequence[TakenCase]]]) -> tuple[dict[str, Any], Speed]:
    """The speed, and changes of the recipe without which there is not enough memory.

    Raises UserError where there is not even enough for one patch a step.
    """
    recipe = read_recipe({})
    for changes in ({}, {"batch_size": 1}) if recipe.batch_size > 1 else ({},):
        try:
            return changes, measure_speed(read_recipe(changes), learner, space, device, groups)
        except NotFiniteError as error:
            raise UserError(code=Code.DIVERGED, subject="optimiser.learning_rate",
                            found=f"{error} in a trial step",
                            hint="expected a lower one than "
                                 f"{recipe.resolved_stages()[0].optimiser.learning_rate}") from None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
    raise UserError(code=Code.NO_MEMORY, subject="patch_zyx",
                    found=f"out of memory on {device} with patches of {recipe.preprocessing.patch_zyx}",
                    hint="expected smaller ones (--set patch_zyx=[...]) or another --device")


class _Listener(Reporter):
    """Passes on, and remembers what was warned of."""

    def __init__(self, reporter: Reporter) -> None:
        self.events: list[dict[str, Any]] = []
        self.progress = reporter.progress
        self._reporter = reporter

    def warning(self, message: str | Problem) -> None:
        self.events.append(as_problem(message).as_event())
        self._reporter.warning(message)


def run_space(start: LabelSpace, listed: LabelSpace, only_listed: bool) -> LabelSpace:
    """The start model's organs followed by the listed ones that it lacks; or only the listed ones."""
    if only_listed:
        return listed
    new = [organ for organ in listed.organs if organ.name not in start.names]
    if not new:
        return start
    grown = label_space_of_names(f"{start.name}+{len(new)}", [*start.names, *(organ.name for organ in new)])
    own = {organ.name: organ for organ in (*listed.organs, *start.organs)}
    return LabelSpace(grown.name, tuple(replace(own[organ.name], index=organ.index) for organ in grown.organs))


def _write_manifest(run: Path, space: LabelSpace, training: Sequence[TakenCase],
                    replay: Replay, measured: Sequence[TakenCase]) -> None:
    """One manifest of all cases; of the patches `REPLAY_SHARE` are replayed ones, half of them from anywhere."""
    write_json(run / LABEL_SPACE_FILE, LabelSpaceEntry.of(space).model_dump(mode="json"))
    weights: dict[str, float] = {}  # the user's, which share what is not replayed
    for case in training:
        weights.setdefault(case.dataset, case.weight)
    datasets = [_dataset(f"cases of {name}", weight / sum(weights.values()) * (1 - REPLAY_SHARE),
                         [case for case in training if case.dataset == name], space, TRAINED)
                for name, weight in weights.items()]
    replayed = {name: cases for name, cases in (("replay", replay.training), ("replay, anywhere", replay.anywhere))
                if cases}
    datasets += [_dataset(name, REPLAY_SHARE / len(replayed), cases, space, TRAINED)
                 for name, cases in replayed.items()]
    if measured or replay.measured:
        # As partial labels, which agreement with strokes is measured on too.
        datasets.append(_dataset("measured", 0.0, [*measured, *replay.measured], space, MEASURED,
                                 kind=Kind.PARTIAL.value))
    names: set[str] = set()
    for entry in (entry for dataset in datasets for entry in dataset["cases"]):
        entry["name"] = entry["name"].encode()[:LONGEST_NAME // 2].decode(errors="ignore")
        while entry["name"] in names:
            entry["name"] += "_"
        names.add(entry["name"])
    with whole_file(run / MANIFEST_FILE) as temporary:
        temporary.write_text(yaml.safe_dump({"label_space": LABEL_SPACE_FILE, "datasets": datasets}, sort_keys=False,
                                            allow_unicode=True), encoding="utf-8")


def _dataset(name: str, weight: float, cases: Sequence[TakenCase], space: LabelSpace, group: str,
             **changes: Any) -> dict[str, Any]:
    """A data set of the run's manifest; `changes` are made to all of its cases."""
    return {"name": name, "weight": weight, "cases": [case.entry(space, group=group, **changes) for case in cases]}


def _lineage(start: Bundle, cases: Sequence[TakenCase], trained: Sequence[TakenCase], space: LabelSpace) -> Lineage:
    """What came from where: the fingerprint is of all `cases`, learnt is what those `trained` on show."""
    learnt, classes = {}, ClassMap.between(start.label_space, space)
    for label, name in enumerate(space.names, 1):
        showing = [case for case in trained if label in case.organs]
        if showing:
            learnt[name] = LearntEntry(cases=len(showing), voxels=sum(case.voxels[label] for case in showing),
                                       kinds=sorted({case.kind.value for case in showing}))
    return Lineage(
        parent=ParentEntry(name=start.name, version=start.metadata.version, sha256=sha256(start.folder / MANIFEST)),
        data_sha256=fingerprint(cases), learnt=learnt,
        new_organs=[space.names[label - 1] for label in classes.new],
        dropped_organs=[start.label_space.names[label - 1] for label in classes.dropped])
