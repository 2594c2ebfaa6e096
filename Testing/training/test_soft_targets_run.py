"""Training with soft targets: it resumes, runs in several processes, and learns from them alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from PartialOrganSegLib.errors import Problem
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.loading.targets import Targets
from PartialOrganSegLib.networks.light_unet import LightUNet
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.training.distributed import Processes
from PartialOrganSegLib.training.objective import Objective
from PartialOrganSegLib.training.recipe import load_recipe
from PartialOrganSegLib.training.settings import Stage
from PartialOrganSegLib.training.trainer import train
from PartialOrganSegLib.training.training_step import TrainingStep
from Testing.helpers.soft_targets import manifest_with_soft, soft_of, write_soft
from Testing.helpers.training_data import blocks, write_image, write_recipe, write_yaml


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases, one with soft targets, and a loss for them; few steps, with checkpoints between."""
    folder = tmp_path_factory.mktemp("soft ü")
    path = manifest_with_soft(folder, "soft/0.npz", None)
    write_soft(folder / "soft" / "0.npz", probabilities=soft_of(blocks(0)[1]))
    return write_recipe(folder, path, augmentation={"strength": 1.0}, voxels_per_set=300,
                        losses={"marginal_cross_entropy": 1.0, "marginal_dice": 1.0, "soft_targets": 0.5},
                        steps=10, checkpoint_every=5)


class Listener(Reporter):
    """Stops the training after step `at`."""

    def __init__(self, at: int = -1) -> None:
        self.at, self.warnings = at, []

    def progress(self, stage: str, step: int, total: int) -> None:
        if stage == "training" and step == self.at:
            raise RuntimeError("power cut")

    def warning(self, message: str | Problem) -> None:
        self.warnings.append(str(message))


def trained(recipe: Path, folder: Path, *overrides: str, resume: bool = False,
            reporter: Reporter | None = None) -> dict[str, torch.Tensor]:
    train(load_recipe(recipe, overrides), folder, resume, "cpu", reporter)
    return torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["network"]


def test_a_run_with_soft_targets_resumes_bit_for_bit(recipe: Path, tmp_path: Path):
    uninterrupted = trained(recipe, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        trained(recipe, tmp_path / "cut", reporter=Listener(7))
    resumed = trained(recipe, tmp_path / "cut", resume=True)
    assert all(torch.equal(uninterrupted[name], resumed[name]) for name in uninterrupted)
    # Worker processes read ahead; the draw of a patch must depend on its number alone.
    workers = trained(recipe, tmp_path / "workers", "workers=1")
    assert all(torch.equal(uninterrupted[name], workers[name]) for name in uninterrupted)
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text("utf-8").splitlines()]
    assert log[-1]["soft_targets"] > 0


@dataclass(frozen=True)
class _Others(Processes):
    """Stands for several processes, of which others have soft targets; `gathered`: what this one gives to them."""

    gathered: list[torch.Tensor] = field(default_factory=list)

    def any(self, has_targets: bool, device: torch.device) -> bool:
        return True

    def gather(self, part: torch.Tensor) -> torch.Tensor:
        self.gathered.append(part)
        return part


def test_a_process_without_soft_targets_gives_zeros_to_the_others():
    """All processes must gather arrays of one shape, or they would wait for each other for ever."""
    processes, shape = _Others(), (16, 32, 32)
    stage = Stage(losses={"soft_targets": 1.0})
    training_step = TrainingStep(LightUNet(1, 4, [4, 4]), None, torch.ones(2, 4, dtype=torch.bool), torch.device("cpu"),
                                 False, processes)
    training_step.begin(stage, Objective(stage, label_space_of_names("three", ["liver", "spleen", "pancreas"]),
                                   soft_sets=[(0, 2, 3), (1,)]))
    targets = Targets(torch.zeros(2, *shape, dtype=torch.uint8), torch.ones(2, 4, dtype=torch.bool),
                      torch.zeros(2, 1, *shape))
    figures = training_step.step(1, 0, targets)
    assert figures["soft_targets"] == 0
    # Of all that was gathered, the array of two soft classes at full size.
    (soft,) = [part for part in processes.gathered if part.ndim == 5 and part.shape[1] == 2]
    assert soft.shape == (2, 2, *shape)
    assert not soft.any()


def test_weight_zero_and_no_soft_targets_change_nothing(recipe: Path, tmp_path: Path):
    """Without the loss, the same weights whether or not the manifest has files, and none is read."""
    hard = "losses={marginal_cross_entropy: 1.0, marginal_dice: 1.0, soft_targets: 0.0}"
    folder = tmp_path / "none"
    bare = trained(recipe, tmp_path / "bare", hard, f"manifest={manifest_with_soft(folder, None, None)}")
    missing = manifest_with_soft(tmp_path / "gone", "missing.npz", None)
    reporter = Listener()
    left_out = trained(recipe, tmp_path / "left out", f"manifest={folder / 'manifest.yaml'}", reporter=reporter)
    write_soft(tmp_path / "gone" / "missing.npz").write_text("not looked at")
    # With a weight of 0 the file is not opened, so that it may well be unreadable.
    zero = trained(recipe, tmp_path / "zero", hard, f"manifest={missing}")
    assert all(torch.equal(bare[name], zero[name]) and torch.equal(bare[name], left_out[name]) for name in bare)
    assert "losses.soft_targets: left out, there is no case with soft_targets in the manifest" in reporter.warnings


def test_a_network_learns_from_soft_targets_alone(tmp_path: Path):
    """An unlabelled case and a teacher that is sure of the liver: the loss falls to the teacher's own uncertainty."""
    hu, labels = blocks(3)
    write_image(tmp_path / "a.nii.gz", hu)
    write_soft(tmp_path / "a.npz", probabilities=soft_of(labels, 0.98))
    path = write_yaml(tmp_path / "manifest.yaml", {"datasets": [{"name": "open", "kind": "unlabelled", "cases": [
        {"image": "a.nii.gz", "soft_targets": "a.npz"}]}]})
    recipe = write_recipe(tmp_path, path, losses={"soft_targets": 1.0}, steps=60)
    trained(recipe, tmp_path / "run")
    lines = (tmp_path / "run" / "log.jsonl").read_text("utf-8").splitlines()
    values = [json.loads(line)["soft_targets"] for line in lines]
    # 60 steps of a small network: well below half, far from converged.
    assert values[-1] < 0.5 * values[0]
