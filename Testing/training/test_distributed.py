"""Two processes started by torchrun compute what one process with the doubled batch computes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.training.distributed import started
from PartialOrganSegLib.training.recipe import load_recipe
from PartialOrganSegLib.training.trainer import train
from Testing.helpers import ready_python
from Testing.helpers.repository import ROOT
from Testing.helpers.training_data import write_case, write_manifest, write_recipe, write_yaml
from Testing.helpers.training_runs import log_of

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(), reason="PyTorch without gloo")


def curve(folder: Path) -> list[list[float]]:
    curve = []
    for line in log_of(folder):
        line.pop("gradient", None)
        curve.append(list(line.values()))
    return curve


def train_in_two(recipe: Path, folder: Path, *words: str) -> subprocess.CompletedProcess:
    """`partialorganseg train` in two processes, to its end."""
    python = ready_python.program()
    command = [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python", python,
               "-m", "PartialOrganSegLib", "train", str(recipe), "-o", str(folder), "--device", "cpu", *words]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500,
                               env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert completed.returncode == 0, completed.stderr
    return completed


def test_two_processes_compute_what_one_would(tmp_path):
    """Dice, prior and sampled voxels included: losses that do not add up over parts of a batch; and the confidence that
    pseudo-labels need, which only the process with the partial case has voxels for."""
    entries = [write_case(tmp_path, f"case{number}", number) for number in range(4)]
    manifest = write_yaml(tmp_path / "manifest.yaml", {"datasets": [
        {"name": "full", "kind": "full", "cases": entries[:2]},
        {"name": "part", "kind": "partial", "annotated": ["liver"], "ignored": ["spleen", "left_kidney"],
         "cases": entries[2:3]},
        {"name": "held", "kind": "full", "cases": entries[3:]}]})
    # The partial case gives the prior something to say, in one of the two processes only.
    changes = {"losses": {"marginal_cross_entropy": 1.0, "marginal_dice": 1.0, "prior_primal_dual": 0.1},
               "pseudo_labels": {"every": 1, "least_confidence": 0.5}, "voxels_per_set": 300,
               "validation": {"groups": ["case3"], "every": 10},
               "optimiser": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "ema": 0.5, "warmup_steps": 0}}
    recipe = write_recipe(tmp_path, manifest, **changes)
    # Two processes of two patches each see the same four as one process.
    train(load_recipe(recipe, ["batch_size=4"]), tmp_path / "one", False, "cpu")
    completed = train_in_two(recipe, tmp_path / "two", "--set", "batch_size=2")
    assert completed.stdout.count("run folder") == 1  # the first process alone speaks
    alone, together = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert len(alone) == 4  # two of steps, two of validation
    for expected, figures in zip(alone, together, strict=True):
        assert figures == pytest.approx(expected, rel=1e-3, abs=1e-4)
    states = [torch.load(tmp_path / name / "checkpoints" / "last.pt", weights_only=True) for name in ("one", "two")]
    for name, value in states[0]["network"].items():
        assert torch.allclose(states[1]["network"][name], value, rtol=1e-3, atol=1e-4), name
    assert states[1]["settings"]["batch"] == 4
    confidence = states[0]["class_confidence"]
    assert (confidence < 1).any()
    assert states[1]["class_confidence"] == pytest.approx(confidence, abs=1e-4)


def test_two_processes_train_folds(tmp_path):
    """Ended at once: the second process found the folds.json of the first, and took it for that of another run."""
    recipe = write_recipe(tmp_path, write_manifest(tmp_path, 2), steps=2, batch_size=1)
    words = [recipe, tmp_path / "run", "--folds", "2"]
    assert train_in_two(*words).stdout.count("run folder") == 1
    assert len(load_bundle(tmp_path / "run" / "model").folds) == 2
    train_in_two(*words, "--resume")


def test_one_run_after_the_other_finds_no_address_of_the_one_before(monkeypatch):
    """Then a process waited, now and then, for one that was gone: "timed out connecting"."""
    shared, stale = dist.HashStore(), []

    def connect(backend, store, rank, world_size, timeout):
        assert (backend, rank, world_size) == ("gloo", 0, 2)
        stale.append(store.check(["address"]))
        store.set("address", "here")

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(dist, "rendezvous", lambda *_, **__: iter([(shared, 0, 2)]))
    monkeypatch.setattr(dist, "init_process_group", connect)
    monkeypatch.setattr(dist, "barrier", lambda: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    for _ in range(2):
        with started(torch.device("cpu")) as processes:
            assert (processes.rank, processes.size) == (0, 2)
    assert stale == [False, False]
