"""Hooks are called when they say, keep their state in the checkpoint and can ask a run to stop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from PartialOrganSegLib.training.checkpoint import load_checkpoint
from PartialOrganSegLib.training.hooks import Hook, RunView, StepReport
from PartialOrganSegLib.training.recipe import Recipe, load_recipe
from PartialOrganSegLib.training.trainer import Trainer
from Testing.helpers.training_data import write_manifest, write_recipe
from Testing.helpers.training_runs import equal_weights, state_of


class Recorder(Hook):
    """Records what it is called for; asks to stop after step `last`."""

    def __init__(self, last: int = -1) -> None:
        self.last, self.calls, self.steps = last, [], 0

    def on_step(self, trainer: RunView, report: StepReport) -> None:
        assert trainer.step == report.step
        assert report.seconds >= report.waiting_seconds >= 0
        # By the clock a busy machine makes a step longer; what it computes stays the same.
        assert report.processor_seconds > 0
        self.calls.append(("step", report.step, report.stage, sorted(report.figures)))
        self.steps += 1
        if report.step == self.last:
            trainer.stop()

    def on_validation(self, trainer: RunView, figures: Mapping[str, float]) -> None:
        self.calls.append(("validation", trainer.step, sorted(figures)))

    def on_checkpoint(self, trainer: RunView, path: Path) -> None:
        # The file is whole when the hook is told of it.
        assert load_checkpoint(path)["step"] == trainer.step
        self.calls.append(("checkpoint", trainer.step, path.name))

    def state_dict(self) -> dict[str, object]:
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        self.steps = state["steps"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("Daten ä")
    path = write_recipe(folder, write_manifest(folder), steps=4, checkpoint_every=3,
                        validation={"groups": ["case1"], "every": 2})
    return load_recipe(path)


def test_hooks_are_called_in_the_order_of_what_happens(recipe, tmp_path):
    recorder = Recorder()
    trainer = Trainer(recipe, tmp_path / "run", hooks=[recorder])
    trainer.train()
    figures = ["gradient", "learning_rate", "loss", "marginal_cross_entropy", "marginal_dice"]
    assert recorder.calls[0] == ("step", 1, "training", figures)
    assert [call[:2] for call in recorder.calls if call[0] != "checkpoint"] == [
        ("step", 1), ("step", 2), ("validation", 2), ("step", 3), ("step", 4), ("validation", 4)]
    assert {"liver", "mean"} <= set(next(call[2] for call in recorder.calls if call[0] == "validation"))
    checkpoints = [call[1:] for call in recorder.calls if call[0] == "checkpoint"]
    assert (3, "last.pt") in checkpoints
    assert checkpoints[-1] == (4, "last.pt")
    assert trainer.hooks == [recorder]  # what writes the log is the trainer's own


def test_a_hook_that_stops_the_run_goes_on_with_its_state(recipe, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Trainer(recipe, tmp_path / "run", hooks=[Recorder(last=3)]).train()
    assert state_of(tmp_path / "run")["step"] == 3
    resumed, uninterrupted = Recorder(), Recorder()
    Trainer(recipe, tmp_path / "run", resume=True, hooks=[resumed]).train()
    Trainer(recipe, tmp_path / "whole", hooks=[uninterrupted]).train()
    assert [call[1] for call in resumed.calls if call[0] == "step"] == [4]
    assert (resumed.steps, uninterrupted.steps) == (4, 4)
    assert equal_weights(state_of(tmp_path / "run")["average"], state_of(tmp_path / "whole")["average"])


def test_a_recipes_hooks_look_on_and_decide_no_number(recipe, tmp_path):
    name = f"{Recorder.__module__}:Recorder"
    watched = recipe.changed(hooks={name: {"last": 3}})
    with pytest.raises(KeyboardInterrupt):
        Trainer(watched, tmp_path / "run").train()
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["hooks"] == {name: {"steps": 3}}
    Trainer(recipe, tmp_path / "run", resume=True).train()  # without it, which is no other run
    assert state_of(tmp_path / "run")["step"] == 4


def test_a_checkpoint_of_0_4_resumes(recipe, tmp_path):
    """It has no states of hooks, and its settings have their former names."""
    with pytest.raises(KeyboardInterrupt):
        Trainer(recipe, tmp_path / "run", hooks=[Recorder(last=3)]).train()
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    checkpoint = load_checkpoint(path)
    del checkpoint["hooks"]
    settings = checkpoint["settings"]
    # 0.4 had these settings at the top, and alpha as the share of the start model.
    settings |= settings.pop("preprocessing") | {"start_share": round(1 - settings.pop("alpha"), 12)}
    validation = settings["validation"]
    validation["start_shares"] = [1 - alpha for alpha in validation.pop("alphas")]
    torch.save(checkpoint, path)
    Trainer(recipe, tmp_path / "run", resume=True).train()
    Trainer(recipe, tmp_path / "whole").train()
    assert equal_weights(state_of(tmp_path / "run")["network"], state_of(tmp_path / "whole")["network"])
