"""Training: it learns, resumes to the same numbers, stops tidily and leaves a bundle that loads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from PartialOrganSegLib.errors import Problem, UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.strokes import Stroke, Strokes, write_strokes
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.models.checksums import verify_bundle
from PartialOrganSegLib.training.recipe import load_recipe
from Testing.helpers.repository import ROOT
from Testing.helpers.training_data import blocks, write_case, write_image, write_manifest, write_recipe, write_yaml
from Testing.helpers.training_runs import equal_weights, log_of, run, state_of


class Stopper(Reporter):
    """Does `action` after step `at`; collects warnings."""

    def __init__(self, at: int = -1, action=None) -> None:
        self.at, self.action, self.warnings = at, action, []

    def progress(self, stage: str, step: int, total: int) -> None:
        if stage == "training" and step == self.at:
            self.action()

    def warning(self, message: str | Problem) -> None:
        self.warnings.append(str(message))


def crash() -> None:
    raise RuntimeError("power cut")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random patches, augmented, with a random part of the background: everything that could differ on resuming."""
    folder = tmp_path_factory.mktemp("Daten ä")
    return write_recipe(folder, write_manifest(folder), augmentation={"strength": 1.0}, voxels_per_set=300)


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(recipe, tmp_path_factory.mktemp("runs") / "finished")


def assert_as_uninterrupted(folder: Path, finished: Path) -> None:
    state, expected = state_of(folder), state_of(finished)
    assert state["step"] == expected["step"] == 20
    assert equal_weights(state["network"], expected["network"])
    assert equal_weights(state["average"], expected["average"])
    # Lines that were logged after the last checkpoint are not there twice.
    assert log_of(folder) == log_of(finished)
    assert all((folder / "model" / part).read_bytes() == (finished / "model" / part).read_bytes()
               for part in ("models/model.safetensors", "configs/checksums.json"))


def test_the_same_recipe_gives_the_same_model(recipe, finished, tmp_path):
    assert_as_uninterrupted(run(recipe, tmp_path / "again"), finished)


def test_a_stopped_run_resumes_to_the_same_numbers(recipe, finished, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "run", reporter=Stopper(7, lambda: signal.raise_signal(signal.SIGTERM)))
    assert state_of(tmp_path / "run")["step"] == 7
    assert not (tmp_path / "run" / "model").exists()
    assert_as_uninterrupted(run(recipe, tmp_path / "run", resume=True), finished)


def test_a_killed_run_resumes_from_its_last_checkpoint(recipe, finished, tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        run(recipe, tmp_path / "run", "checkpoint_every=4", reporter=Stopper(11, crash))
    assert state_of(tmp_path / "run")["step"] == 8
    # How often checkpoints are written decides no number and may differ.
    assert_as_uninterrupted(run(recipe, tmp_path / "run", "checkpoint_every=3", resume=True), finished)


def test_loader_processes_change_no_number(recipe, finished, tmp_path):
    assert_as_uninterrupted(run(recipe, tmp_path / "run", "workers=1"), finished)


def test_signals_are_given_back(finished):
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_IGN)  # jobs ignore it


def test_resuming_a_finished_run_writes_its_bundle_again(recipe, finished, tmp_path):
    folder = run(recipe, tmp_path / "run")
    weights = (folder / "model" / "models" / "model.safetensors").read_bytes()
    run(recipe, folder, "bundle.name=renamed", resume=True)
    assert load_bundle(folder / "model").name == "renamed"
    assert (folder / "model" / "models" / "model.safetensors").read_bytes() == weights
    assert len(log_of(folder)) == 2


def test_the_bundle_is_whole_and_fits_the_recipe(recipe, finished):
    verify_bundle(finished / "model")
    bundle = load_bundle(finished / "model")
    assert bundle.preprocessing.spacing_zyx == (3.0, 2.0, 2.0)
    assert bundle.preprocessing.clip_hu == (-300.0, 500.0)
    assert bundle.network_arguments == {"channels": [8, 8]}
    network, average = bundle.load_network(), state_of(finished)["average"]
    for name, value in network.state_dict().items():
        assert torch.allclose(value.float(), average[name].float(), rtol=1e-3, atol=1e-4), name
    assert network(torch.zeros(1, 1, 8, 16, 16)).shape == (1, 17, 8, 16, 16)


def test_the_run_folder_says_how_it_was_made(recipe, finished):
    again = load_recipe(finished / "recipe.yaml")
    assert again == load_recipe(recipe)


def test_the_loss_falls_on_an_easy_task(tmp_path):
    recipe = write_recipe(tmp_path, write_manifest(tmp_path), steps=60)
    losses = [line["loss"] for line in log_of(run(recipe, tmp_path / "run"))]
    # Three blocks of their own HU each: a network that learns at all learns this in 60 steps.
    assert losses[-1] < 0.35 * losses[0]
    network = load_bundle(tmp_path / "run" / "model").load_network()
    image, labels = blocks(0)
    pixels = torch.from_numpy((np.clip(image.astype(np.float32), -300, 500) - 60) / 150)[None, None]
    assert (network(pixels)[0].argmax(0).numpy() == labels).mean() > 0.85


def test_every_kind_of_annotation_in_one_run(tmp_path):
    cases = {name: write_case(tmp_path, name, seed) for seed, name in enumerate(
        ("full", "partial", "coarse", "drawn", "strokes", "unlabelled"))}
    scribble = np.full((12, 24, 24), 255, np.uint8)
    labels = blocks(3)[1]
    scribble[4:6] = labels[4:6]
    write_image(tmp_path / cases["drawn"]["label"], scribble)
    write_strokes(tmp_path / "strokes.json", Strokes(image="strokes", drawn_by="a test", licence="CC0-1.0", strokes=[
        Stroke(organ="liver", points=[(10.0, 10.0, 9.0), (12.0, 10.0, 9.0)])]))
    for name in ("strokes", "unlabelled"):
        del cases[name]["label"]
    cases["strokes"]["strokes"] = "strokes.json"

    def dataset(name: str, kind: str, **settings: object) -> dict:
        return {"name": name, "kind": kind, "cases": [cases[name]], **settings}

    manifest = write_yaml(tmp_path / "manifest.yaml", {"datasets": [
        dataset("full", "full"), dataset("partial", "partial", annotated=["liver"], ignored=["spleen", "left_kidney"]),
        dataset("coarse", "partial", annotated=["liver", "spleen", "left_kidney"],
                label_map={2: ["spleen", "left_kidney"], 3: ["spleen", "left_kidney"]}),
        dataset("drawn", "scribble"), dataset("strokes", "scribble"), dataset("unlabelled", "unlabelled")]})
    reporter = Stopper()
    recipe = write_recipe(tmp_path, manifest, batch_size=3, half_precision=True, augmentation={"strength": 0.5})
    log = log_of(run(recipe, tmp_path / "run", reporter=reporter))
    assert all(np.isfinite([line["loss"], line["marginal_cross_entropy"], line["marginal_dice"]]).all() for line in log)
    warnings = [line for line in reporter.warnings
            if "waiting for data" not in line and "half_precision" not in line]  # which depend on the machine
    assert len(warnings) == 1
    assert warnings[0].startswith("no training voxel is certainly right_kidney, stomach")
    verify_bundle(tmp_path / "run" / "model")


def test_training_on_nothing_but_unlabelled_images_goes_through(tmp_path):
    entry = write_case(tmp_path, "a", 0)
    del entry["label"]
    manifest = write_yaml(tmp_path / "m.yaml", {"datasets": [{"name": "u", "kind": "unlabelled", "cases": [entry]}]})
    assert [line["loss"] for line in log_of(run(write_recipe(tmp_path, manifest, steps=10), tmp_path / "run"))] == [0.0]


def test_start_from_another_model(recipe, finished, tmp_path):
    started = run(recipe, tmp_path / "run", f"start_from='{finished / 'model'}'", "steps=1",
                  "optimiser.learning_rate=1e-12", "optimiser.weight_decay=0")
    weights, expected = state_of(started)["network"], load_bundle(finished / "model").load_network().state_dict()
    assert all(torch.allclose(weights[name], expected[name], atol=1e-6) for name in weights if "weight" in name)
    with pytest.raises(UserError, match="start_from: expected a model of network light_unet"):
        run(recipe, tmp_path / "other", f"start_from='{finished / 'model'}'", "network.arguments.channels=[8, 4]")


def test_the_weight_ensemble_with_the_start_model(recipe, finished, tmp_path):
    """Written and measured is the mixture; what is trained, and goes on from a checkpoint, is not."""
    settings = [f"start_from='{finished / 'model'}'", "steps=3", "validation={groups: [case1]}"]
    folder = run(recipe, tmp_path / "run", *settings, "alpha=0.75")
    plain = run(recipe, tmp_path / "plain", *settings)
    assert equal_weights(state_of(folder)["average"], state_of(plain)["average"])
    start = load_bundle(finished / "model").load_network().state_dict()
    written = load_bundle(folder / "model").load_network().state_dict()
    trained = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)["average"]
    for name, value in written.items():
        expected = 0.25 * start[name].numpy() + 0.75 * trained[name].numpy()
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-3, atol=1e-4, err_msg=name)
    away = run(recipe, tmp_path / "away", *settings, "optimiser.learning_rate=0.3", "alpha=0.000001")
    metrics = load_bundle(away / "model").metadata.partialorganseg.metrics
    assert metrics["validation_dice"] == pytest.approx(metrics["validation_dice_before"], abs=1e-3)
    assert not equal_weights(state_of(away)["average"], state_of(folder)["average"])


def test_a_full_disk_keeps_the_checkpoint_before(recipe, finished, tmp_path, monkeypatch):
    save, saved = torch.save, []

    def full(state, path):
        # The first checkpoint fits, the second one fills the disk half way.
        saved.append(path)
        if len(saved) > 1:
            path.write_bytes(b"half a checkpoint")
            raise OSError(28, "No space left on device")
        save(state, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"last\.pt: the checkpoint could not be written .*No space left"):
        run(recipe, tmp_path / "run", "checkpoint_every=5")
    monkeypatch.undo()
    assert state_of(tmp_path / "run")["step"] == 5
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["last.pt"]
    assert_as_uninterrupted(run(recipe, tmp_path / "run", resume=True), finished)


def test_validation_keeps_the_best_and_ends_early(tmp_path):
    """Case 2 is not trained on; it vouches for the liver alone, so nothing else is judged."""
    entries = [write_case(tmp_path, f"case{number}", number) for number in range(3)]
    manifest = write_yaml(tmp_path / "m.yaml", {"datasets": [
        {"name": "full", "kind": "full", "cases": entries[:2]},
        {"name": "livers", "kind": "partial", "annotated": ["liver"], "label_map": {2: "background", 3: "background"},
         "cases": entries[2:]}]})
    recipe = write_recipe(tmp_path, manifest, validation={"groups": ["case2"], "every": 5, "patience": 2}, steps=400,
                          optimiser={"learning_rate": 1e-12, "warmup_steps": 0, "ema": 0.5})  # nothing gets better
    folder = run(recipe, tmp_path / "run")
    measured = [line for line in log_of(folder) if "dice_mean" in line]
    assert all(set(line) == {"step", "dice_liver", "dice_mean"} for line in measured)
    assert [line["step"] for line in measured] == [5, 10, 15]
    assert state_of(folder)["step"] == 15
    best_state = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)
    assert best_state["step"] == 5
    bundle = load_bundle(folder / "model")
    best = bundle.metadata.partialorganseg.metrics["validation_dice"]["liver"]
    assert best == pytest.approx(measured[0]["dice_mean"], abs=1e-4)
    assert all(torch.allclose(value, best_state["average"][name], rtol=1e-3, atol=1e-4)
               for name, value in bundle.load_network().state_dict().items())
    assert sorted((folder / "events").glob("events.out.tfevents*"))


def test_before_and_after_are_told_where_a_run_starts_from_a_model(recipe, finished, tmp_path):
    folder = run(recipe, tmp_path / "run", f"start_from='{finished / 'model'}'", "validation={groups: [case1]}",
                 "steps=2")
    metrics = load_bundle(folder / "model").metadata.partialorganseg.metrics
    assert set(metrics["validation_dice_before"]) == set(metrics["validation_dice"])
    assert [line["step"] for line in log_of(folder) if "dice_mean" in line] == [0, 2]


def test_sigterm_leaves_a_checkpoint_and_ends_with_130(tmp_path):
    recipe = write_recipe(tmp_path, write_manifest(tmp_path), steps=100_000, checkpoint_every=100_000)
    command = [sys.executable, "-m", "PartialOrganSegLib", "train", str(recipe), "-o", str(tmp_path / "run"),
               "--json-events", "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT,
                               env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        assert process.stdout is not None
        for line in process.stdout:
            # The first line of the log: training has begun.
            if json.loads(line)["event"] == "metric":
                break
        process.send_signal(signal.SIGTERM)
        output = process.stdout.read()
        assert process.wait(60) == 130
    finally:
        process.kill()
    assert "cancelled" in output
    state = state_of(tmp_path / "run")
    assert state["step"] >= 10
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["last.pt"]
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "run", resume=True,
            reporter=Stopper(state["step"] + 1, lambda: signal.raise_signal(signal.SIGINT)))
    assert state_of(tmp_path / "run")["step"] == state["step"] + 1
