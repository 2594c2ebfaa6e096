"""Runs of several stages: what a stage leaves to the next ones, and to the model that is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.training.recipe import load_recipe
from PartialOrganSegLib.training.trainer import Trainer
from PartialOrganSegLib.training.training_step import TrainingStep
from Testing.helpers.training_data import write_manifest, write_recipe
from Testing.helpers.training_runs import AtStep, equal_weights, log_of, run, state_of, terminate

PIPO = {"name": "pipo_fan", "arguments": {"channels": [4, 4], "input_scales": 2, "output_scales": 2}}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_manifest(tmp_path_factory.mktemp("cases"), cases=3)


def stage(name: str, **settings: object) -> dict[str, object]:
    return {"name": name, "steps": 3, **settings}


@pytest.mark.parametrize("phases", [("deep_supervision",), ("deep_supervision", None), ("deep_supervision", "fusion")])
def test_a_model_is_in_the_phase_in_which_it_was_validated(manifest, tmp_path, phases):
    """One that ended with deep supervision predicted through the fusion, which nothing had trained."""
    stages = [stage(str(number), phase=phase) for number, phase in enumerate(phases)]
    recipe = load_recipe(write_recipe(tmp_path, manifest, network=PIPO, stages=stages, validation={
        "groups": ["case2"], "every": 3}, preprocessing={"spacing_zyx": [3, 2, 2], "patch_zyx": [3, 16, 16]}))
    trainer = Trainer(recipe, tmp_path / "run")
    trainer.train()
    trainer.write_model()
    written = load_bundle(tmp_path / "run" / "model").load_network()
    phase = "fusion" if phases[-1] == "fusion" else "deep_supervision"
    assert [module.phase for module in written.modules() if getattr(module, "PHASES", ())] == [phase]
    figures = trainer.evaluator.evaluate(written, written.state_dict(), Reporter())
    # Weights are written in half precision.
    assert figures == pytest.approx(trainer.state.best.figures, abs=0.02)


def test_a_resumed_run_is_in_the_phase_of_an_earlier_stage(manifest, tmp_path):
    recipe = write_recipe(tmp_path, manifest, network=PIPO, checkpoint_every=1, preprocessing={
        "spacing_zyx": [3, 2, 2], "patch_zyx": [3, 16, 16]}, stages=[stage("first", phase="deep_supervision"),
                                                                     stage("second")])
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "run", reporter=AtStep(4, terminate))
    run(recipe, tmp_path / "run", resume=True)
    run(recipe, tmp_path / "uninterrupted")
    resumed, expected = state_of(tmp_path / "run"), state_of(tmp_path / "uninterrupted")
    assert equal_weights(resumed["network"], expected["network"])


@pytest.mark.parametrize(("settings", "message"), [
    ({"use": ["scribble"]}, "stage second: no case left to train on"),
    ({"train_parameters": "heads"}, "stage second: train_parameters: .*did you mean 'head'"),
    ({"phase": "fusion"}, "stage second: phase: expected a network that trains in phases"),
    ({"deep_supervision": {"weights": [1, 1]}}, r"stage second: deep_supervision\.weights: expected 1 .*found 2"),
    ({"sampling": {"full_share": 0.5}}, r"stage second: sampling\.full_share: expected fully labelled cases"),
    ({"losses": {"distillation": 1.0}}, "stage second: losses: expected at least one"),
    ({"optimiser": {"name": "adamw", "arguments": {"betas": [2, 2]}}}, "stage second: .*[bB]eta")])
def test_what_a_later_stage_lacks_is_told_before_the_first_step(manifest, tmp_path, settings, message):
    recipe = load_recipe(write_recipe(tmp_path, manifest, stages=[stage("first"), stage("second", **settings)]))
    with pytest.raises(UserError, match=message):
        Trainer(recipe, tmp_path / "run")


def test_a_stage_that_cannot_begin_costs_nothing_of_the_one_before(manifest, tmp_path, monkeypatch):
    recipe = write_recipe(tmp_path, manifest, stages=[stage("first"), stage("second")], checkpoint_every=100,
                          validation={"groups": ["case2"], "every": 3})
    begin = TrainingStep.begin

    def without_room(self, stage, objective):
        if stage.name == "second":
            raise MemoryError
        begin(self, stage, objective)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "begin", without_room)
        with pytest.raises(MemoryError):
            run(recipe, tmp_path / "run")
    assert state_of(tmp_path / "run")["step"] == 3
    run(recipe, tmp_path / "run", resume=True)
    run(recipe, tmp_path / "uninterrupted")
    resumed, expected = state_of(tmp_path / "run"), state_of(tmp_path / "uninterrupted")
    assert equal_weights(resumed["network"], expected["network"])
    # The first stage was not measured again.
    assert log_of(tmp_path / "run") == log_of(tmp_path / "uninterrupted")
