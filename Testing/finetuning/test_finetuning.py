"""Fine-tuning a small model: what it learns, keeps, reports and refuses, and how it ends when it is stopped."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from PartialOrganSegLib.annotation import Kind
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.finetuning.lineage import run_space
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.finetuning.preparation import prepare
from PartialOrganSegLib.finetuning.preparation_state import Request
from PartialOrganSegLib.finetuning.run import Result, finetune, resume
from PartialOrganSegLib.finetuning.verdict import LOSS_TOLERATED
from PartialOrganSegLib.models.bundle import Bundle, load_bundle
from PartialOrganSegLib.models.checksums import MANIFEST, sha256, verify_bundle
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.resources import resource
from PartialOrganSegLib.training import checkpoint
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


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Bundle:
    return write_start(tmp_path_factory.mktemp("Modelle ä") / "start")


@pytest.fixture(scope="module")
def spleens(tmp_path_factory) -> Path:
    """Two cases in which the spleen was accepted."""
    return write_cases(tmp_path_factory.mktemp("meine Fälle"), [only(ct_of(seed)[1], 2) for seed in range(2)])


def tune(start: Bundle, data: Path, run: Path, reporter: Reporter | None = None, steps: int = 4, replay: str = "none",
         overrides: Sequence[str] = (), **settings) -> Result:
    options = FinetuneOptions(steps=steps, replay=replay, overrides=[*QUICK, *overrides], **settings)
    return finetune(start.folder, data, run, "cpu", options, None, reporter)


@pytest.fixture(scope="module")
def finished(start, spleens, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "finished"
    before = sha256(start.folder / MANIFEST)
    tune(start, spleens, run)
    verify_bundle(start.folder)
    assert sha256(start.folder / MANIFEST) == before  # never written to
    return run


def result_of(run: Path) -> dict:
    return json.loads((run / "result.json").read_text("utf-8"))


def test_the_new_bundle_says_where_it_comes_from(start, finished):
    section = load_bundle(finished / "model").metadata.partialorganseg
    assert section.lineage.parent.sha256 == sha256(start.folder / MANIFEST)
    assert (section.lineage.parent.name, section.lineage.parent.version) == ("start", "1.2")
    assert list(section.lineage.learnt) == ["spleen"]
    learnt = section.lineage.learnt["spleen"]
    assert (learnt.cases, learnt.kinds) == (2, ["partial"])
    assert learnt.voxels == sum((ct_of(seed)[1] == 2).sum() for seed in range(2))
    assert section.training_data == ["a data set"]
    assert section.metrics["dice"]["spleen"]["group"] == "changed"
    assert "slabs" in section.metrics["dice"]["spleen"]["measured_on"]
    assert result_of(finished)["selected"] == section.metrics["selected"] in ("start", "finetuned")
    assert "| spleen | changed |" in (finished / "model" / "README.md").read_text("utf-8")


def test_the_best_weights_are_chosen_by_the_figures_of_the_verdict(finished):
    validation = load_recipe(finished / "recipe.yaml").validation
    assert (validation.half, validation.tolerated_loss) == (["spleen"], LOSS_TOLERATED)


@pytest.mark.parametrize(("validate", "overrides", "tried"), [
    ([], [], [0.75, 0.5, 0.25]),  # this start model knows nothing, so none of it is in the result unless it has to be
    (["none"], [], []), (["case1"], ["alpha=1"], []), (["case1"], ["alpha=0.75"], [1.0, 0.5, 0.25]),
    ([], ["alpha=0.75"], [0.5, 0.25])])  # in slabs of the same patients the trained weights always look good
def test_alphas_are_tried_where_there_is_something_to_measure_them_on(start, spleens, validate, overrides, tried,
                                                                    tmp_path):
    with pytest.raises(KeyboardInterrupt):
        # The recipe is written before the first step, so the run may end there.
        tune(start, spleens, tmp_path / "run", RunListener(1, KeyboardInterrupt()), validate=validate,
             overrides=overrides)
    assert load_recipe(tmp_path / "run" / "recipe.yaml").validation.alphas == tried


def test_a_case_that_is_only_measured_on_is_not_learnt_from(start, tmp_path):
    """Spleens are accepted in two CTs; a third, with every organ, is measured on: liver and kidney are to be kept."""
    data = write_cases(tmp_path, [only(ct_of(0)[1], 2), only(ct_of(1)[1], 2), ct_of(2)[1]])
    content = yaml.safe_load(data.read_text("utf-8"))
    content["datasets"][0]["cases"][2]["annotated"] = list(ORGANS)
    data.write_text(yaml.safe_dump(content), "utf-8")
    result = tune(start, data, tmp_path / "run", validate=["case2"])
    assert {row.organ: row.group for row in result.outcome.rows} == {
        "spleen": "changed", "liver": "kept", "left_kidney": "kept"}
    assert list(result.bundle.metadata.partialorganseg.lineage.learnt) == ["spleen"]


def test_the_result_says_which_alpha_was_chosen(finished):
    alpha = result_of(finished)["alpha"]
    assert alpha in (1, 0.75, 0.5, 0.25)
    assert load_bundle(finished / "model").metadata.partialorganseg.metrics["alpha"] == alpha


def test_the_expected_time_is_reported_before_the_first_step(start, spleens, tmp_path):
    reporter = RunListener(1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        tune(start, spleens, tmp_path / "run", reporter)
    assert reporter.figures[0]["steps"] == 4
    assert reporter.figures[0]["expected_minutes"] >= 0


@pytest.mark.parametrize(("overrides", "reported"), [([], False), (["losses.distillation=0"], True)])
def test_organs_that_no_case_shows_are_reported_unless_the_start_model_teaches_them(start, spleens, overrides, reported,
                                                                                    tmp_path):
    reporter = RunListener(1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        tune(start, spleens, tmp_path / "run", reporter, overrides=overrides)
    assert ("no training voxel is certainly liver, left_kidney" in reporter.warnings) is reported


def test_a_killed_run_goes_on_to_the_same_model(start, spleens, finished, tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        tune(start, spleens, tmp_path / "run", RunListener(3, RuntimeError("power cut")))
    assert not (tmp_path / "run" / "result.json").exists()
    with pytest.raises(UserError, match="add --resume"):
        tune(start, spleens, tmp_path / "run")
    resume(tmp_path / "run", "cpu")
    weights = "model/models/model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (finished / weights).read_bytes()
    assert result_of(tmp_path / "run")["dice"] == result_of(finished)["dice"]
    resume(tmp_path / "run", "cpu")  # once more changes nothing
    assert (tmp_path / "run" / weights).read_bytes() == (finished / weights).read_bytes()


def test_no_checkpoint_is_of_a_last_step_whose_stage_goes_on(start, spleens, tmp_path, monkeypatch):
    """Killed right after it, a resumed run would have no step left and never end."""
    # Only steps after which something is saved can be gone on from.
    saved, save = [], checkpoint.save_checkpoint

    def spy(path, state):
        saved.append((path.name, state["step"], state["stage"]))
        save(path, state)

    monkeypatch.setattr("PartialOrganSegLib.training.run_state.save_checkpoint", spy)
    tune(start, spleens, tmp_path / "run", overrides=["checkpoint_every=100"])
    steps_and_stages = [(step, stage) for name, step, stage in saved if name == "last.pt"]
    assert steps_and_stages[-1] == (4, 1)
    assert (4, 0) not in steps_and_stages


def test_another_runs_checkpoint_is_not_gone_on_with(start, spleens, finished, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "last.pt").write_bytes((finished / "checkpoints" / "last.pt").read_bytes())
    with pytest.raises(UserError, match="expected a new run folder, found another run's checkpoint"):
        tune(start, spleens, tmp_path / "run")


def test_killed_before_the_first_checkpoint(start, spleens, finished, tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        tune(start, spleens, tmp_path / "run", RunListener(1, RuntimeError("power cut")))
    assert not (tmp_path / "run" / "checkpoints" / "last.pt").exists()
    resume(tmp_path / "run", "cpu")
    assert result_of(tmp_path / "run")["dice"] == result_of(finished)["dice"]
    with pytest.raises(UserError, match=r"plan\.json: expected the plan of a run to resume, found none"):
        resume(tmp_path / "nothing", "cpu")


def test_a_full_disk_is_reported_in_one_line_and_resumed_from(start, spleens, finished, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("PartialOrganSegLib.finetuning.run.write_bundle", full)
        with pytest.raises(UserError, match=r"run: expected room for the run's files, found none \(No space left"):
            tune(start, spleens, tmp_path / "run")
    resume(tmp_path / "run", "cpu")
    assert result_of(tmp_path / "run")["dice"] == result_of(finished)["dice"]
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.torch, "save", full)
        with pytest.raises(UserError, match=r"could not be written .*make room"):
            tune(start, spleens, tmp_path / "other")


def test_a_changed_start_model_is_noticed_on_resuming(spleens, tmp_path):
    start = write_start(tmp_path / "start")
    with pytest.raises(KeyboardInterrupt):
        tune(start, spleens, tmp_path / "run", RunListener(1, KeyboardInterrupt()))
    # Another model at the same place, as after an update of it.
    write_start(tmp_path / "start", seed=5)
    with pytest.raises(UserError, match="expected the start model as it was"):
        resume(tmp_path / "run", "cpu")


def test_a_new_organ_is_added_and_the_others_stay(spleens, tmp_path):
    start = write_start(tmp_path / "start", ["liver", "left_kidney"])
    reporter = RunListener()
    tune(start, spleens, tmp_path / "run", reporter)
    bundle = load_bundle(tmp_path / "run" / "model")
    assert bundle.label_space.names == ("liver", "left_kidney", "spleen")
    assert bundle.metadata.partialorganseg.lineage.new_organs == ["spleen"]
    assert any(line.startswith("new to the start model start: spleen") for line in reporter.warnings)


def test_only_the_listed_organs(spleens, tmp_path):
    start = write_start(tmp_path / "start", ["aorta", "left_kidney", "liver"])
    reporter = RunListener()
    tune(start, spleens, tmp_path / "run", reporter, only_listed=True)
    bundle = load_bundle(tmp_path / "run" / "model")
    assert bundle.label_space.names == ("liver", "spleen", "left_kidney")
    assert bundle.metadata.partialorganseg.lineage.dropped_organs == ["aorta"]
    assert any("leaves out: aorta" in line for line in reporter.warnings)


def test_codes_and_colours_survive_a_growing_label_space():
    grown = run_space(label_space_of_names("a", ["liver", "my_node"]), label_space_of_names("b", ["aorta", "liver"]),
                      False)
    assert grown.names == ("liver", "my_node", "aorta")
    assert grown.organ("aorta").code.value == "15825003"
    assert [organ.index for organ in grown.organs] == [1, 2, 3]


def test_it_learns_a_new_organ_and_keeps_a_known_one(tmp_path):
    """Kidneys are learnt first; then only spleens are shown, and both are found. Without the teacher kidneys go."""
    hard = ["optimiser.learning_rate=0.02", "batch_size=2", "alpha=1"]  # too far for a way between
    # Values become 1, the only organ of the label space.
    kidneys = write_cases(tmp_path / "known", [only(ct_of(seed)[1], 3) // 3 for seed in (5, 6, 7)], "full",
                        ["left_kidney"], [5, 6, 7], ["left_kidney"])
    first = tune(write_start(tmp_path / "blank", ["left_kidney"]), kidneys, tmp_path / "first", steps=80,
                 validate=["none"], overrides=["losses.distillation=0", *hard]).bundle
    spleens = write_cases(tmp_path / "new", [only(ct_of(seed)[1], 2) for seed in (8, 9)], seeds=[8, 9])
    taught = tune(first, spleens, tmp_path / "taught", steps=80, validate=["none"], overrides=hard).bundle
    plain = tune(first, spleens, tmp_path / "plain", steps=80, validate=["none"],
                 overrides=[*hard, "losses.distillation=0"]).bundle
    assert taught.label_space.names == ("left_kidney", "liver", "spleen")
    image, labels = ct_of(11)
    pixels = torch.from_numpy((np.clip(image.astype(np.float32), -300, 500) - 60) / 150)[None, None]

    def dice(bundle: Bundle, organ: str) -> float:
        predicted = bundle.load_network()(pixels)[0].argmax(0).numpy() == bundle.label_space.index(organ)
        truth = labels == 1 + ORGANS.index(organ)
        return 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())

    assert dice(taught, "spleen") > 0.5
    # The teacher keeps what is known to within 0.1; without it most of it is lost, so the test has something to see.
    assert dice(taught, "left_kidney") > max(dice(first, "left_kidney") - 0.1, dice(plain, "left_kidney") + 0.2)


def test_a_quarter_of_the_patches_is_replayed_half_of_them_from_anywhere(start, spleens, tmp_path, monkeypatch):
    monkeypatch.setattr("PartialOrganSegLib.finetuning.replay.make_phantom", small_phantom)
    with pytest.raises(KeyboardInterrupt):
        tune(start, spleens, tmp_path / "run", RunListener(1, KeyboardInterrupt()), replay="phantoms")
    cases = load_manifest(tmp_path / "run" / "manifest.yaml").cases
    weights = {case.dataset: case.weight for case in cases}
    assert weights == {"cases of mine": 0.75, "replay": 0.125, "replay, anywhere": 0.125, "measured": 0}
    assert {case.kind for case in cases if case.dataset == "replay, anywhere"} == {Kind.UNLABELLED}


def test_a_users_recipe_needs_no_manifest_and_may_set_alpha(start, spleens, tmp_path):
    content = {key: value for key, value in yaml.safe_load(
        resource("recipes", "finetune.yaml").read_text(encoding="utf-8")).items() if key != "manifest"}
    for name, alpha in (("without", None), ("with", 0.6)):
        path = tmp_path / f"{name}.yaml"
        settings = {} if alpha is None else {"alpha": alpha}
        path.write_text(yaml.safe_dump(content | settings), encoding="utf-8")
        run = tmp_path / name
        run.mkdir()
        options = FinetuneOptions(steps=2, replay="none", validate=["none"], overrides=QUICK)
        prepare(Request(start, spleens, run, path, torch.device("cpu"), options), Reporter())
        assert load_recipe(run / "recipe.yaml").alpha == (alpha or 1)  # random weights know nothing


def test_a_single_labelled_slice_is_reported_and_learnt_from(start, tmp_path):
    labels = only(ct_of(0)[1], 2)
    # The second slice of the spleen is left, so that slabs have nothing to leave out.
    labels[np.arange(12) != np.flatnonzero(labels.any((1, 2)))[1]] = 0
    scribble = np.where(labels == 2, 2, 255).astype(np.uint8)
    reporter = RunListener()
    result = tune(start, write_cases(tmp_path, [scribble], "scribble"), tmp_path / "run", reporter)
    assert any("case0: spleen is labelled in a single slice (" in line for line in reporter.warnings)
    assert any("not measured" in line and "spleen" in line for line in reporter.warnings)
    assert result.outcome.selected == "start"
    assert "spleen could not be measured on a real CT" in result.outcome.reason
