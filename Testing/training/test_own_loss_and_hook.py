"""A page to copy: a loss and a hook of one's own, in a training on phantoms with a recipe made in Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.loading.targets import Targets
from PartialOrganSegLib.losses import Supervision
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.synthesis.phantom import make_phantom
from PartialOrganSegLib.training.hooks import Hook, RunView, StepReport
from PartialOrganSegLib.training.recipe import Recipe
from PartialOrganSegLib.training.trainer import Trainer
from Testing.helpers.training_data import write_yaml


class FocalLoss(nn.Module):
    """Marginal cross entropy weighted by (1 - p)^power, p the probability of what a voxel may be (Lin 2017)."""

    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        batch = Supervision.of(logits, targets)
        voxels = batch.labelled  # the voxels whose annotation excludes a class
        if not len(voxels):
            return batch.zero
        log_p = voxels.log_probabilities.masked_fill(~voxels.allowed, float("-inf")).logsumexp(1)
        return (-(1 - log_p.exp()) ** self.power * log_p).mean()


class LossCurve(Hook):
    """Writes a loss's values into `curve.csv` of the run folder, and ends the run early where Dice is high enough."""

    def __init__(self, loss: str, enough: float = 1.0) -> None:
        self.loss, self.enough, self.values, self.dice = loss, enough, [], []

    def on_step(self, trainer: RunView, report: StepReport) -> None:
        self.values.append(report.figures[self.loss])

    def on_validation(self, trainer: RunView, figures: Mapping[str, float]) -> None:
        self.dice.append(figures["mean"])
        if figures["mean"] > self.enough:
            trainer.stop()

    def on_checkpoint(self, trainer: RunView, path: Path) -> None:
        # Written with each checkpoint: after a power cut, curve and weights belong together.
        lines = [f"{step},{value}\n" for step, value in enumerate(self.values, start=1)]
        (trainer.folder / "curve.csv").write_text("".join(lines), encoding="utf-8")

    def state_dict(self) -> dict[str, object]:
        return {"values": self.values}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        self.values = list(state["values"])


def phantoms(folder: Path) -> Path:
    """Two synthetic patients with all organs, as a manifest."""
    cases = []
    for seed in range(2):
        ct, labels = make_phantom((40, 40, 48), (9.0, 8.0, 9.0), seed)
        write_ct(folder / f"{seed}.nii.gz", ct)
        write_labelmap(folder / f"{seed}_label.nii.gz", labels)
        cases.append({"image": f"{seed}.nii.gz", "label": f"{seed}_label.nii.gz", "name": f"patient{seed}"})
    return write_yaml(folder / "manifest.yaml", {"datasets": [{"name": "phantoms", "kind": "full", "cases": cases}]})


def test_a_training_with_a_loss_and_a_hook_from_outside(tmp_path: Path):
    focal_loss = f"{FocalLoss.__module__}:FocalLoss"
    recipe = Recipe(
        manifest=phantoms(tmp_path), steps=30, checkpoint_every=15, batch_size=1, workers=0, half_precision=False,
        preprocessing={"spacing_zyx": (9, 8, 9), "patch_zyx": (16, 32, 32)},
        network={"name": "light_unet", "arguments": {"channels": [8, 16]}},
        losses={focal_loss: 1.0, "marginal_dice": 1.0}, loss_arguments={focal_loss: {"power": 1.0}},
        validation={"groups": ["patient1"], "every": 15}, augmentation={"strength": 0},
        optimiser={"learning_rate": 0.01, "warmup_steps": 2, "ema": 0.5})
    curve = LossCurve(focal_loss)
    trainer = Trainer(recipe, tmp_path / "run", hooks=[curve])
    trainer.train()
    trainer.write_model()

    assert len(curve.values) == 30
    # Means of five steps: single steps of one patch jump about.
    assert sum(curve.values[-5:]) < 0.7 * sum(curve.values[:5])
    assert len(curve.dice) == 2  # after 15 and 30 steps
    assert (tmp_path / "run" / "curve.csv").read_text("utf-8").count("\n") == 30
    assert load_bundle(tmp_path / "run" / "model").network_arguments == {"channels": [8, 16]}
