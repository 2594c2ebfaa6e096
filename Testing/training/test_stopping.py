"""A training that is asked to stop while it measures does so at once, and measures again when it goes on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.training.checkpoint import load_checkpoint, save_checkpoint
from PartialOrganSegLib.training.recipe import load_recipe
from PartialOrganSegLib.training.trainer import train
from Testing.helpers.training_data import write_case, write_recipe, write_yaml

MODEL = "model/models/model.safetensors"


class Signaller(Reporter):
    """Sends SIGINT after the first case of a measurement, once `before` training steps are done."""

    def __init__(self, before: int) -> None:
        self.before, self.steps, self.measured = before, 0, []

    def progress(self, stage: str, case_count: int, total: int) -> None:
        if stage == "training":
            self.steps = case_count
        if stage == "validation":
            self.measured.append((self.steps, case_count))
            if self.steps == self.before and case_count == 1:
                signal.raise_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """Two cases are trained on, three are measured on after every second of four steps."""
    folder = tmp_path_factory.mktemp("Daten")
    cases = [write_case(folder, f"case{number}", number) for number in range(5)]
    manifest = write_yaml(folder / "m.yaml", {"datasets": [{"name": "full", "kind": "full", "cases": cases}]})
    return write_recipe(folder, manifest, steps=4, checkpoint_every=100,
                        validation={"groups": ["case2", "case3", "case4"], "every": 2})


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(load_recipe(recipe), folder, False, "cpu")
    return folder


def measurements(folder: Path) -> list[str]:
    """The lines of a run's log that hold figures of a measurement."""
    return [line for line in (folder / "log.jsonl").read_text("utf-8").splitlines() if "dice_mean" in line]


@pytest.mark.parametrize("step", [2, 4])
def test_it_goes_on_with_the_measurement_and_to_the_same_model(recipe, finished, tmp_path, step):
    stopped = Signaller(step)
    with pytest.raises(KeyboardInterrupt):
        train(load_recipe(recipe), tmp_path, False, "cpu", stopped)
    assert stopped.measured[-1] == (step, 1)
    state = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    assert (state["step"], state["unmeasured"]) == (step, True)
    resumed = Signaller(-1)
    train(load_recipe(recipe), tmp_path, True, "cpu", resumed)
    # From the first case on: figures of half a measurement are not in the checkpoint.
    assert [count for steps, count in resumed.measured[:3]] == [1, 2, 3]
    assert (tmp_path / MODEL).read_bytes() == (finished / MODEL).read_bytes()
    assert measurements(tmp_path) == measurements(finished)


def test_what_is_measured_before_the_first_step_is_made_up_for_too(recipe, finished, tmp_path):
    changed, stopped = load_recipe(recipe, [f"start_from='{finished / 'model'}'"]), Signaller(0)
    with pytest.raises(KeyboardInterrupt):
        train(changed, tmp_path / "stopped", False, "cpu", stopped)
    assert stopped.measured == [(0, 1)]
    train(changed, tmp_path / "stopped", True, "cpu")
    train(changed, tmp_path / "whole", False, "cpu")
    resumed, expected = (load_bundle(tmp_path / name / "model").metadata.partialorganseg.metrics
                       for name in ("stopped", "whole"))
    assert resumed["validation_dice_before"] == expected["validation_dice_before"]
    assert (tmp_path / "stopped" / MODEL).read_bytes() == (tmp_path / "whole" / MODEL).read_bytes()


def test_a_checkpoint_of_an_earlier_version_was_measured(finished, tmp_path):
    state = load_checkpoint(finished / "checkpoints" / "last.pt")
    del state["unmeasured"]
    torch.save(state, tmp_path / "last.pt")
    assert "unmeasured" not in load_checkpoint(tmp_path / "last.pt")
    # New checkpoints always say it: only what is read may lack it.
    with pytest.raises(AssertionError):
        save_checkpoint(tmp_path / "new.pt", state)
