"""Everything before the first step: cases looked at, a part left out, replay made, the time worked out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from ..annotation import Kind
from ..atomic import whole_file
from ..data.manifest import load_manifest
from ..errors import UserError
from ..events import Reporter
from ..inference.backend import fast_dtype
from ..models.bundle import Bundle
from ..models.checksums import MANIFEST, sha256
from ..models.metadata import LabelSpaceEntry, LearntEntry, Lineage, ParentEntry
from ..networks import build_network
from ..organs import LabelSpace, label_space_of_names
from ..training.recipe import Recipe, load_recipe
from ..training.transfer import ClassMap
from .budget import Budget, default_minutes, make_budget, measure_speed
from .cases import TakenCase, fingerprint, take_cases
from .doubts import doubts
from .holdout import CASES, NOTHING, HeldOut, hold_out
from .outcome import LOSS_TOLERATED
from .plan import Plan, write_json, write_plan
from .replay import PHANTOMS, replay_set
from .strokes import draw_rates

REPLAY_SHARE = 0.25  # of the patches
NEW_ORGANS_START_SHARE = 0.3  # halfway to a model without the organ, the features do not show it well enough
CASES_FOLDER, REPLAY_FOLDER, RECIPE_FILE = "cases", "replay", "recipe.yaml"


@dataclass(frozen=True)
class Wishes:
    """What a user may say about a run; None and empty leave it to the run.

    `replay`: "phantoms", "none" or a manifest's path. `validate`: groups of cases to measure on, or "none".
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
    """Writes plan.json, recipe.yaml, the manifest and the cases' code maps into `run`; tells doubts and the time.

    Raises UserError for cases that nothing can be learnt from or that are no CTs.
    """
    start.check_trainable()
    said = _Listener(reporter)
    manifest = load_manifest(data, said)
    space = run_space(start.label_space, manifest.label_space, wishes.only_listed)
    spacing = start.preprocessing.spacing_zyx
    cases = take_cases(manifest.cases, manifest.label_space, space, spacing, run / CASES_FOLDER, said,
                       force=wishes.force)
    for doubt in doubts(cases, space):
        said.warning(doubt)
    measure = list(wishes.validate) != [NOTHING]
    held = hold_out(cases, wishes.validate or manifest.validation_groups(), run / CASES_FOLDER)
    changed = sorted({label for case in cases for label in case.organs})
    unmeasured = [space.names[label - 1] for label in changed if label not in held.measured_on]
    if unmeasured and measure:
        said.warning(f"not measured, too few labelled slices to leave some out: {', '.join(unmeasured)}")
    replay = replay_set(wishes.replay, space, spacing, changed, list(held.measured_on), measure,
                        run / REPLAY_FOLDER, said)
    measured = [*held.measured, *replay.measured]
    classes = ClassMap.between(start.label_space, space)

    rates = draw_rates(held.training, start, space, device, reporter)

    def read_recipe(changes: dict[str, Any]) -> Recipe:
        return _recipe(recipe_file, start, classes, run, wishes, device, changes | _of_strokes(rates))

    recipe = read_recipe({})
    shares = _shares_to_try(recipe.start_share, held) if measured else []
    reporter.progress("measuring the speed", 0, 1)
    speed = measure_speed(recipe, start, space, device,
                          [(1 - REPLAY_SHARE, held.training), (REPLAY_SHARE, replay.training)])
    network = build_network(start.network_name, 1, space.class_count, **start.network_arguments)
    budget = make_budget(default_minutes(device) if wishes.minutes is None else wishes.minutes, speed, recipe,
                         [case.shape for case in measured], network.size_multiple, device,
                         sum(case.labelled and case.weight > 0 for case in held.training), wishes.steps, len(shares))
    names = [space.names[label - 1] for label in changed]
    recipe = read_recipe(_settings(budget, measured, names, shares))
    _write_manifest(run, space, held.training, [replay.training, replay.measured], held.measured)
    with whole_file(run / RECIPE_FILE) as temporary:
        temporary.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    on = {space.names[label - 1]: what for label, what in (replay.measured_on | held.measured_on).items()}
    plan = Plan(start=start.folder.resolve(), data=Path(data).resolve(), lineage=_lineage(start, cases, space, classes),
                changed=names, kept=[name for name in space.names if name not in names], measured_on=on,
                steps=budget.steps, minutes=round(budget.seconds / 60, 1), said=said.lines)
    write_plan(run, plan)
    return plan


class _Listener(Reporter):
    """Passes on, and remembers what was warned of."""

    def __init__(self, reporter: Reporter) -> None:
        self.lines: list[str] = []
        self.progress = reporter.progress
        self._reporter = reporter

    def warning(self, message: str) -> None:
        self.lines.append(message)
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


def _recipe(file: Path, start: Bundle, classes: ClassMap, run: Path, wishes: Wishes, device: torch.device,
            changes: dict[str, Any]) -> Recipe:
    """The recipe file with what this run decides: start model, how it reads CTs, new classes, then `changes`, and what
    the user overrides."""
    own = start.preprocessing
    licences = start.metadata.partialorganseg.licences
    content: dict[str, Any] = {
        "manifest": str((run / "manifest.yaml").resolve()), "start_from": str(start.folder.resolve()),
        "network": None, "spacing_zyx": own.spacing_zyx, "patch_zyx": own.patch_zyx, "clip_hu": own.clip_hu,
        "subtract": own.subtract, "divide": own.divide,
        "half_precision": fast_dtype(device) != torch.float32,
        "batch_size": 1 if device.type == "cpu" else 2,
        "bundle.name": wishes.name or f"{start.name[:53]}-finetuned",
        "bundle.description": f"{start.metadata.description} Fine-tuned.",
        "bundle.licences": {"code": licences.code, "weights": licences.weights,
                            "data": f"{licences.data}; and the cases fine-tuned on, whose terms are their owner's"},
        **changes}
    if classes.new:
        content["loss_arguments.distillation.new_classes"] = list(classes.new)
        # In the plain mean a new organ does not appear within the steps of a fine-tuning: the background outweighs it.
        content["loss_arguments.marginal_cross_entropy.balanced"] = True
        content["start_share"] = NEW_ORGANS_START_SHARE
    return load_recipe(file, [*(f"{key}={json.dumps(value)}" for key, value in content.items()), *wishes.overrides])


def _of_strokes(rates: Sequence[float]) -> dict[str, Any]:
    return {"loss_arguments.marginal_cross_entropy.draw_rates": list(rates)} if rates else {}


def _shares_to_try(share: float, held: HeldOut) -> list[float]:
    """The start model's shares in the result that are measured beside the recipe's `share`, which 0 rules out.

    A larger one, which may save a kept organ. Smaller ones only where other patients are measured on: in slabs of those
    that were trained on, the trained weights look better than they are.
    """
    if not share:
        return []
    less = [0.0, share / 2] if CASES in held.measured_on.values() else []
    return [round(value, 3) for value in (*less, (1 + share) / 2)]


def _settings(budget: Budget, measured: Sequence[TakenCase], changed: Sequence[str],
              shares: Sequence[float]) -> dict[str, Any]:
    """What the budget decides of a recipe. Organs learnt and organs kept decide half each on which weights
    are the best; those that would not be selected come last."""
    return {"steps": budget.steps, "optimiser.warmup_steps": max(1, min(50, budget.steps // 10)),
            "checkpoint_every": max(10, min(100, budget.steps // 10)), "workers": budget.workers,
            "validation.groups": sorted({case.group for case in measured}), "validation.every": budget.every,
            "validation.patience": 2, "validation.half": list(changed), "validation.tolerated_loss": LOSS_TOLERATED,
            "validation.start_shares": list(shares)}


def _write_manifest(run: Path, space: LabelSpace, training: Sequence[TakenCase],
                    replay: Sequence[Sequence[TakenCase]], measured: Sequence[TakenCase]) -> None:
    """One manifest of all cases; of the patches `REPLAY_SHARE` are replayed ones."""
    write_json(run / "label_space.json", LabelSpaceEntry.of(space).model_dump(mode="json"))
    trained = [case for case in training if case.weight > 0]
    if not any(case.labelled for case in trained):
        raise UserError("--validate: expected a labelled case left to train on, found none")
    datasets = [{"name": "cases", "weight": 1.0 - REPLAY_SHARE, "cases": [case.entry(space) for case in trained]}]
    replayed, replay_measured = replay
    if replayed:
        datasets.append({"name": "replay", "weight": REPLAY_SHARE, "cases": [case.entry(space) for case in replayed]})
    if measured or replay_measured:
        datasets.append({"name": "measured", "weight": 0.0,
                         # As partial labels, which agreement with strokes is measured on too.
                         "cases": [case.entry(space, kind=Kind.PARTIAL.value)
                                   for case in (*measured, *replay_measured)]})
    names: set[str] = set()
    for entry in (entry for dataset in datasets for entry in dataset["cases"]):
        while entry["name"] in names:
            entry["name"] += "_"
        names.add(entry["name"])
    with whole_file(run / "manifest.yaml") as temporary:
        temporary.write_text(yaml.safe_dump({"label_space": "label_space.json", "datasets": datasets}, sort_keys=False,
                                            allow_unicode=True), encoding="utf-8")


def _lineage(start: Bundle, cases: Sequence[TakenCase], space: LabelSpace, classes: ClassMap) -> Lineage:
    learnt = {}
    for label, name in enumerate(space.names, 1):
        showing = [case for case in cases if label in case.organs]
        if showing:
            learnt[name] = LearntEntry(cases=len(showing), voxels=sum(case.voxels[label] for case in showing),
                                       kinds=sorted({case.kind.value for case in showing}))
    return Lineage(
        parent=ParentEntry(name=start.name, version=start.metadata.version, sha256=sha256(start.folder / MANIFEST)),
        data_sha256=fingerprint(cases), learnt=learnt,
        new_organs=[space.names[label - 1] for label in classes.new],
        dropped_organs=[start.label_space.names[label - 1] for label in classes.dropped])
