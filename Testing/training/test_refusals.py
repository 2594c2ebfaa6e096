"""What cannot be trained, and what cannot be gone on with, is one line and leaves what was there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.networks.light_unet import LightUNet
from Testing.helpers.training_data import write_manifest, write_recipe
from Testing.helpers.training_runs import run


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("Daten ä")
    return write_recipe(folder, write_manifest(folder))


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(recipe, tmp_path_factory.mktemp("runs") / "finished")


@pytest.mark.parametrize(("overrides", "message"), [
    (["hold_out=[nobody]"], "hold_out: no case of group 'nobody'"),
    (["hold_out=[case0, case1]"], "no case left to train on"),
    (["preprocessing.patch_zyx=[8, 16, 15]"],
     r"preprocessing\.patch_zyx: expected multiples of \(2, 4, 4\), found \(8, 16, 15\)"),
    (["network.name=light_unit"], "did you mean 'light_unet'"),
    (["losses={marginal_dise: 1}"], "did you mean 'marginal_dice'"),
    (["validation={groups: [case3]}"], r"validation\.groups: no case of group 'case3' .*did you mean 'case[01]'"),
    (["use=[partial]"], "stage training: no case left to train on; expected kinds partial, found full"),
    (["half_precision=float16"], "half_precision: expected true or false on cpu, found 'float16'"),
    (["phase=fusion"], "phase: expected a network that trains in phases"),
    (["train_parameters=hed"], r"train_parameters: .*found 'hed'.*did you mean 'head'"),
    (["pseudo_labels={losses: [marginal_dise]}"], r"pseudo_labels\.losses: .*did you mean 'marginal_dice'"),
    (["manifest=nowhere.yaml"], r"nowhere\.yaml: manifest expected, none found"),
    (["start_from=nowhere"], "nowhere"),
    (["alpha=0.5"], "alpha: expected 1 without start_from, found 0.5"),
    (["losses={marginal_cross_entropy: 1, crf: 1}", "loss_arguments={crf: {radius: [5, 5]}}"],
     r"loss_arguments: crf\.radius: expected one number or 3, one an axis, found \[5, 5\]"),
    (["losses={marginal_cross_entropy: 1, crf: 1}", "loss_arguments={crf: {position_sigma: [6, 6]}}"],
     r"loss_arguments: crf\.position_sigma: expected one number or 3"),
    (["optimiser.learning_rate=1e30", "optimiser.warmup_steps=0"], r"step \d+: the loss is nan")])
def test_untrainable_settings_are_refused(recipe, tmp_path, overrides, message):
    with pytest.raises(UserError, match=message) as error:
        run(recipe, tmp_path / "run", *overrides)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("network", "patch", "reason"), [
    ("{name: unet_3d, arguments: {channels: [4, 8, 8]}}", [4, 4, 4], "leave one voxel at the coarsest level"),
    ("{name: pipo_fan, arguments: {channels: [4, 4], input_scales: 2, output_scales: 2}}", [1, 16, 16],
     "at least 3 slices"),
    ("{name: pipo_fan, arguments: {channels: [4, 4], input_scales: 2, output_scales: 2}}", [3, 2, 2],
     "leave one voxel at the coarsest level")])
def test_a_patch_that_a_network_cannot_be_trained_on_is_told_before_a_case_is_read(recipe, tmp_path, network, patch,
                                                                                  reason):
    message = rf"patch_zyx: expected a patch that the network can be trained on, found .* in a batch of 1 \(.*{reason}"
    with pytest.raises(UserError, match=message) as error:
        run(recipe, tmp_path / "run", f"network={network}", f"preprocessing.patch_zyx={patch}", "batch_size=1")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("every", [1, 100])
def test_a_checkpoint_is_spoken_of_where_there_is_one(recipe, tmp_path, every):
    with pytest.raises(UserError, match="the loss is nan") as error:
        run(recipe, tmp_path / "run", "optimiser.learning_rate=1e30", "optimiser.warmup_steps=0",
            f"checkpoint_every={every}")
    assert ("last good checkpoint kept" in str(error.value)) == (every == 1)


def test_a_loss_that_is_no_number_is_told_with_its_batch(recipe, tmp_path):
    with pytest.raises(UserError, match=r"batch: case[01] at \(\d+, \d+, \d+\), case[01] at \(\d+, \d+, \d+\);"):
        run(recipe, tmp_path / "run", "optimiser.learning_rate=1e30", "optimiser.warmup_steps=0")


def test_out_of_memory_names_a_patch_that_fits(recipe, tmp_path, monkeypatch):
    forward = LightUNet.forward

    def greedy(self, image):
        # Room for two patches of 8 x 12 x 16, so that the next smaller one fits.
        if image.numel() > 2 * 8 * 12 * 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, image)

    monkeypatch.setattr(LightUNet, "forward", greedy)
    with pytest.raises(UserError, match=r"patch_zyx: out of memory with 2 patches of \(8, 16, 16\); "
                                        r"expected at most \(8, 12, 16\)"):
        run(recipe, tmp_path / "run")


def test_a_used_run_folder_and_a_missing_checkpoint_are_refused(recipe, finished, tmp_path):
    with pytest.raises(UserError, match="expected a new run folder, found checkpoints"):
        run(recipe, finished)
    with pytest.raises(UserError, match=r"last\.pt: expected a checkpoint to resume from, found none"):
        run(recipe, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_what_a_run_would_replace_is_refused(recipe, tmp_path):
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "weights").write_text("mine")
    with pytest.raises(UserError, match="mine: expected a new run folder, found model in it"):
        run(recipe, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").rglob("*")] == ["model", "weights"]


@pytest.mark.parametrize(("override", "message"), [("seed=9", "seed was 0 and is now 9"),
                                                ("optimiser.ema=0.9", "--resume: optimiser was")])
def test_resuming_with_a_changed_recipe_is_refused(recipe, finished, override, message):
    before = (finished / "checkpoints" / "last.pt").read_bytes()
    with pytest.raises(UserError, match=message):
        run(recipe, finished, override, resume=True)
    assert (finished / "checkpoints" / "last.pt").read_bytes() == before


def test_foreign_and_damaged_checkpoints_are_told(recipe, tmp_path):
    checkpoint = tmp_path / "run" / "checkpoints" / "last.pt"
    checkpoint.parent.mkdir(parents=True)
    # No archive of PyTorch, one with too little in it, and one of something else.
    for write in (lambda: checkpoint.write_bytes(b"not torch"), lambda: torch.save({"network": {}}, checkpoint),
                  lambda: torch.save([1], checkpoint)):
        write()
        with pytest.raises(UserError, match=r"last\.pt: expected a checkpoint of this program"):
            run(recipe, tmp_path / "run", resume=True)
