"""The stages of a fine-tuning's preparation, each by itself: what it sets, warns of and refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.finetuning.decisions import HIGH_RATE, LOW_RATE, USUAL_ALPHA, RecipeDraft, start_settings
from PartialOrganSegLib.finetuning.measured_on import MeasuredOn
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.finetuning.preparation import (
    STAGES,
    check_settings,
    leave_out,
    look_at_start_model,
    measure_speed,
    prepare,
    read_cases,
    replay_known,
    write_files,
)
from PartialOrganSegLib.finetuning.preparation_state import Preparation, Request, WarningRecorder
from PartialOrganSegLib.finetuning.replay import Replay
from PartialOrganSegLib.finetuning.speed import Speed
from PartialOrganSegLib.finetuning.time_planning import plan_time
from PartialOrganSegLib.models.bundle import Bundle
from PartialOrganSegLib.resources import resource
from PartialOrganSegLib.training.recipe import load_recipe
from Testing.helpers.finetune_data import (
    ORGANS,
    QUICK,
    RunListener,
    ct_of,
    only,
    small_phantom,
    write_cases,
    write_start,
)

CPU = torch.device("cpu")
RATE_LEFT_OPEN = [override for override in QUICK if "learning_rate" not in override]


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Bundle:
    return write_start(tmp_path_factory.mktemp("Modelle ä") / "start")


@pytest.fixture(scope="module")
def spleens(tmp_path_factory) -> Path:
    """Two cases in which the spleen was accepted."""
    return write_cases(tmp_path_factory.mktemp("meine Fälle"), [only(ct_of(seed)[1], 2) for seed in range(2)])


def preparation(start: Bundle, data: Path, run: Path, **options) -> Preparation:
    """A preparation before its first stage."""
    run.mkdir(exist_ok=True)
    options = FinetuneOptions(**{"steps": 2, "replay": "none", "overrides": QUICK} | options)
    request = Request(start, data, run, resource("recipes", "finetune.yaml"), CPU, options)
    return Preparation(request, WarningRecorder(RunListener()))


def after(stage, draft: Preparation) -> Preparation:
    """The preparation after all stages before `stage`, which are the real ones."""
    for earlier in STAGES:
        if earlier.work is stage:
            return draft
        earlier.work(draft)
    raise AssertionError(stage)


def warnings_of(draft: Preparation) -> list[str]:
    return draft.reporter._reporter.warnings


def test_the_stages_in_turn_are_the_whole_preparation(start, spleens, tmp_path):
    by_stages = preparation(start, spleens, tmp_path / "stages")
    for stage in STAGES:
        stage.work(by_stages)
    (tmp_path / "whole").mkdir()
    plan = prepare(replace(by_stages.request, run=tmp_path / "whole"), RunListener())
    # The time that was measured differs from run to run.
    compared = {"start", "data", "lineage", "changed", "kept", "measured_on", "steps", "images", "patients",
                "looked_at"}
    assert plan.model_dump(include=compared) == by_stages.plan.model_dump(include=compared)
    assert sorted(path.name for path in (tmp_path / "stages").iterdir()) == [
        "cases", "label_space.json", "looks", "manifest.yaml", "plan.json", "recipe.yaml"]
    assert len({stage.name for stage in STAGES}) == len(STAGES)


@pytest.mark.parametrize(("overrides", "alpha_set"), [((), False), (("alpha=0.5",), True)])
def test_settings_are_checked_before_anything_is_read(start, tmp_path, overrides, alpha_set):
    draft = preparation(start, tmp_path / "nowhere.yaml", tmp_path / "run", overrides=[*QUICK, *overrides])
    check_settings(draft)
    assert draft.alpha_set is alpha_set
    draft = preparation(start, tmp_path / "nowhere.yaml", tmp_path / "run", overrides=["steps=3"])
    with pytest.raises(UserError, match="--set steps: expected a setting that fine-tuning leaves open"):
        check_settings(draft)


def test_cases_are_read_into_the_runs_label_space(start, tmp_path):
    data = write_cases(tmp_path, [only(ct_of(0)[1], 2), None], label_space=[*ORGANS, "aorta"])
    draft = preparation(start, data, tmp_path / "run")
    read_cases(draft)
    assert draft.space.names == (*ORGANS, "aorta")
    assert draft.classes.new == (4,)
    assert [(case.name, case.organs) for case in draft.cases] == [("case0", [2]), ("case1", [])]
    assert all(case.candidate_map.parent == tmp_path.resolve() / "run" / "cases" for case in draft.cases)


def test_what_may_be_amiss_is_recorded(start, tmp_path):
    labels = only(ct_of(0)[1], 2)
    # A single slice of the spleen stays.
    labels[np.arange(12) != np.flatnonzero(labels.any((1, 2)))[1]] = 0
    draft = preparation(start, write_cases(tmp_path, [labels]), tmp_path / "run")
    read_cases(draft)
    assert any("labelled in a single slice" in line for line in warnings_of(draft))
    assert [event["code"] for event in draft.reporter.events] == ["data-warning"] * len(warnings_of(draft))


def test_slabs_of_few_cases_are_left_out(start, spleens, tmp_path):
    draft = after(leave_out, preparation(start, spleens, tmp_path / "run"))
    leave_out(draft)
    assert draft.changed == [2]
    assert draft.held.measured_on == {2: MeasuredOn.SLABS}
    assert len(draft.held.training) == len(draft.held.measured) == 2
    draft = after(leave_out, preparation(start, spleens, tmp_path / "run", validate=["none"]))
    leave_out(draft)
    assert (draft.held.measured, draft.measures, warnings_of(draft)) == ([], False, [])


def test_nothing_labelled_left_to_train_on_is_refused(start, tmp_path):
    data = write_cases(tmp_path, [only(ct_of(0)[1], 2), None])
    draft = after(leave_out, preparation(start, data, tmp_path / "run", validate=["case0"]))
    with pytest.raises(UserError, match="expected a labelled case to train on"):
        leave_out(draft)


def test_replay_measures_what_the_cases_do_not(start, spleens, tmp_path, monkeypatch):
    monkeypatch.setattr("PartialOrganSegLib.finetuning.replay.make_phantom", small_phantom)
    draft = after(replay_known, preparation(start, spleens, tmp_path / "run", replay="phantoms"))
    replay_known(draft)
    assert draft.replay.measured_on == {1: MeasuredOn.PHANTOMS, 3: MeasuredOn.PHANTOMS}
    assert len(draft.replay.training) == len(draft.replay.measured) == 2


def test_the_recipe_follows_from_what_the_start_model_knows(start, spleens, tmp_path):
    draft = after(look_at_start_model, preparation(start, spleens, tmp_path / "run", overrides=RATE_LEFT_OPEN))
    look_at_start_model(draft)
    recipe = draft.draft.read()
    assert (recipe.alpha, recipe.optimiser.learning_rate) == (1, HIGH_RATE)  # random weights know nothing
    assert recipe.preprocessing.spacing_zyx == start.preprocessing.spacing_zyx
    assert recipe.bundle.name == "start-finetuned"
    new = after(look_at_start_model, preparation(write_start(tmp_path / "liver", ["liver"]), spleens, tmp_path / "2",
                                                 overrides=RATE_LEFT_OPEN))
    look_at_start_model(new)
    # It has no spleen to compare.
    assert (new.draft.decided["alpha"], new.draft.read().optimiser.learning_rate) == (USUAL_ALPHA, LOW_RATE)
    assert new.draft.read().loss_arguments["distillation"]["new_classes"] == list(new.classes.new)


@pytest.mark.parametrize("beside", [False, True])
def test_a_start_model_that_knows_little_is_better_left_whole(start, spleens, tmp_path, beside):
    draft = after(look_at_start_model, preparation(start, spleens, tmp_path / "run", beside=beside))
    look_at_start_model(draft)
    assert ("knows-little" in [event["code"] for event in draft.reporter.events]) is not beside


def test_the_learning_rate_of_a_users_recipe_stays(start, spleens, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("losses: {marginal_cross_entropy: 1}\noptimiser: {name: sgd, learning_rate: 0.03}\n", "utf-8")
    draft = preparation(start, spleens, tmp_path / "run", overrides=RATE_LEFT_OPEN)
    draft.request = replace(draft.request, recipe_file=file)
    after(look_at_start_model, draft)
    look_at_start_model(draft)
    assert draft.draft.read().optimiser.learning_rate == 0.03


def test_the_users_settings_have_the_last_word(start, spleens, tmp_path):
    draft = preparation(start, spleens, tmp_path / "run")
    read_cases(draft)
    settings = start_settings(start, draft.classes, tmp_path / "run", None, CPU)
    by_user = RecipeDraft(draft.request.recipe_file, settings, ["batch_size=3", "seed=5"])
    recipe = by_user.with_settings({"batch_size": 2, "workers": 7}).read()
    assert (recipe.batch_size, recipe.seed, recipe.workers) == (3, 5, 7)
    assert "workers" not in by_user.decided


def test_speed_and_batch_size_are_measured(start, spleens, tmp_path):
    draft = after(measure_speed, preparation(start, spleens, tmp_path / "run", overrides=[*QUICK, "batch_size=2"]))
    measure_speed(draft)
    assert draft.size_multiple == (2, 4, 4)
    assert min(draft.speed.step, draft.speed.voxel, draft.speed.patch) > 0
    assert draft.draft.read().batch_size == 2


@pytest.mark.parametrize(("network", "overrides", "in_plane"), [
    ("light_unet", (), False), ("attention_unet_2d", (), True),
    ("attention_unet_2d", ("augmentation.in_plane=false",), False)])
def test_slices_of_a_model_that_sees_slices_stay_the_scans_own(spleens, tmp_path, network, overrides, in_plane):
    """A patch that is turned about x would show it "slices" that go through a dozen of the scan's."""
    model = write_start(tmp_path / "start", network_name=network)
    draft = after(measure_speed, preparation(model, spleens, tmp_path / "run", overrides=[*QUICK, *overrides]))
    measure_speed(draft)
    assert draft.draft.read().augmentation.in_plane is in_plane


def test_the_plan_says_what_fits_into_the_time(start, spleens, tmp_path):
    draft = preparation(start, spleens, tmp_path / "run", steps=None, minutes=60, overrides=())
    after(measure_speed, draft)
    # A speed that does not depend on this computer.
    draft.speed, draft.size_multiple = Speed(step=0.5, voxel=1e-6, patch=0.01), (2, 4, 4)
    plan_time(draft)
    assert draft.plan.steps == 300  # a few cases do not take all the minutes there are
    recipe = draft.draft.read()
    # Where steps take less than expected, up to twice as many are made in the same time.
    assert recipe.steps == 600
    assert recipe.validation.groups == ["measured"]
    assert recipe.validation.half == draft.plan.changed == ["spleen"]
    assert draft.plan.kept == ["liver", "left_kidney"]
    assert not (tmp_path / "run" / "plan.json").exists()


def test_the_files_are_those_that_training_reads(start, spleens, tmp_path):
    draft = after(write_files, preparation(start, spleens, tmp_path / "run"))
    assert not (tmp_path / "run" / "plan.json").exists()
    write_files(draft)
    assert load_recipe(tmp_path / "run" / "recipe.yaml") == draft.draft.read()
    manifest = load_manifest(tmp_path / "run" / "manifest.yaml")
    assert {case.group for case in manifest.cases} == {"trained", "measured"}
    assert json.loads((tmp_path / "run" / "plan.json").read_text("utf-8"))["said"] == draft.plan.warnings


def test_user_weights_share_what_is_not_replayed(start, spleens, tmp_path):
    content = yaml.safe_load(spleens.read_text("utf-8"))
    first, second = content["datasets"][0]["cases"]
    content["datasets"] = [{"name": "a", "weight": 3, "cases": [first]}, {"name": "b", "weight": 1, "cases": [second]}]
    data = tmp_path / "weights.yaml"
    data.write_text(yaml.safe_dump(content), "utf-8")
    draft = after(write_files, preparation(start, data, tmp_path / "run", validate=["none"]))
    # Nothing replayed: the user's cases share all patches.
    draft.replay = Replay()
    write_files(draft)
    weights = {case.dataset: case.weight for case in load_manifest(tmp_path / "run" / "manifest.yaml").cases}
    assert weights["cases of a"] == pytest.approx(3 * weights["cases of b"])
