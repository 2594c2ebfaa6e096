"""What the time of a fine-tuning run is spent on: steps, measurements, and CTs that both models are looked at in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..errors import Code, Problem
from ..real_paths import real_path
from ..training.frozen_members import frozen_members
from . import PHANTOMS
from .budget import FEW_STEPS, make_budget, network_voxels
from .decisions import alphas_to_try, budget_settings
from .lineage import lineage_of
from .measured_on import MeasuredOn
from .plan import Plan, TimePlan
from .preparation_state import Preparation
from .speed import frozen_seconds, network_seconds

# Of the minutes, to see what has become of what was not to be learnt.
LOOKING_SHARE = 0.1
# With time for fewer, measurements included, no phantoms are measured.
STEPS_WITH_PHANTOMS = 3 * FEW_STEPS
# Times the minutes asked for: what takes longer is told before it begins.
LATE = 1.1
# CTs in which that is looked at.
MOST_LOOKS = 3
# Of the minutes, for the first of these CTs: of what no mask shows nothing would be known without one.
FIRST_LOOK_SHARE = 0.3


def plan_time(preparation: Preparation) -> None:
    """Works out how many steps fit into the time, and what is measured. Completes `draft` and sets `plan`."""
    _leave_out_phantoms(preparation)
    request, held, measured = preparation.request, preparation.held, preparation.measured
    recipe = preparation.draft.read()
    alphas = alphas_to_try(recipe.alpha, preparation.alpha_set, held) if measured else []
    beside = request.options.beside
    # A joined model is measured once more when it is divided among its members.
    trials = len(alphas) + bool(measured and (request.start.members or beside))
    # And where new classes are shifted.
    trials += bool(measured and preparation.classes.new and recipe.new_class_patches)
    # Beside the network that learns, each of the others segments the measured CTs once.
    asking = frozen_seconds(request.start, [case.shape for case in measured], request.device, beside)
    if beside:
        _report_slower_model(preparation)
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
    whole_minutes = (spent + budget.seconds + asking + looks.seconds) / 60
    if request.options.steps is None and budget.steps < FEW_STEPS:
        found = f"{preparation.minutes:g} minutes, enough for {budget.steps}"
        if whole_minutes > LATE * preparation.minutes:
            found += f"; with reading and measuring these take about {whole_minutes:.1f}"
        preparation.reporter.warning(Problem(
            Code.FEW_STEPS, "--minutes", expected=f"time for {FEW_STEPS} steps or more", found=found,
            hint="little can be learnt"))
    time_plan = None
    if request.options.steps is None:
        time_plan = TimePlan(seconds=budget.seconds + asking, steps=budget.steps, measurements=budget.measurements,
                             measurement_seconds=budget.measurement_seconds, trials=budget.trials,
                             looking_seconds=looks.seconds, step_seconds=budget.step_seconds)
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
        looked_at=looks.images, take_new=request.options.take_new,
        asked_minutes=preparation.minutes if time_plan is not None else None,
        preparing_seconds=time.monotonic() - preparation.began)


def _leave_out_phantoms(preparation: Preparation) -> None:
    """Where there is little time to learn, phantoms are not measured: they decide nothing, and each network of a joined
    start model would have to see them."""
    options = preparation.request.options
    if options.steps is not None or options.replay != PHANTOMS:
        return
    seconds = 60 * preparation.minutes - (time.monotonic() - preparation.began)
    if seconds < STEPS_WITH_PHANTOMS * preparation.speed.step:
        preparation.replay = replace(preparation.replay, measured=(), measured_on={})


def _report_slower_model(preparation: Preparation) -> None:
    """Warns of how much longer it takes to segment with a network more."""
    request = preparation.request
    seconds = network_seconds(frozen_members(request.start, beside=True), [preparation.cases[0].shape],
                              request.start.learner.preprocessing.spacing_zyx, request.device)
    # The copy takes as long as what it is one of: the start model's last network.
    times = 1 + seconds[-1] / sum(seconds)
    preparation.reporter.warning(Problem(
        Code.SETTING_SLOW, "beside", hint="every organ but those that are learnt stays as it is",
        found=f"the new model asks {len(seconds) + 1} networks and takes about {times:.1f} times as long as the start "
              "model"))


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
        for_one = predictions.expected_seconds(case)
        if for_one is None:
            for_one = frozen_seconds(request.start, [case.shape], request.device)
            for_one += preparation.speed.voxel * network_voxels(case.shape, preparation.draft.read(),
                                                                preparation.size_multiple)
        # By the new model, and by the start model where that was not done yet.
        cost = for_one if predictions.exist(case) else 2 * for_one
        if request.options.beside:
            cost += preparation.speed.voxel * network_voxels(case.shape, preparation.draft.read(),
                                                             preparation.size_multiple)
        share = LOOKING_SHARE if images else FIRST_LOOK_SHARE
        if seconds + cost <= share * 60 * preparation.minutes:
            images[case.image] = case.image_sha256
            seconds += cost
    return Looks(images, seconds)
