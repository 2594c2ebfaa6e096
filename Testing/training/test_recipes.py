"""Every shipped recipe, made tiny, trains on phantoms through the command, resumes bit for bit and leaves a model."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.synthesis.phantom import make_phantom
from PartialOrganSegLib.training import batches
from PartialOrganSegLib.training.recipe import Recipe, load_recipe
from PartialOrganSegLib.training.trainer import train
from Testing.helpers.repository import ROOT
from Testing.helpers.training_data import write_yaml

FOLDER = ROOT / "PartialOrganSegLib" / "resources" / "recipes"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml") if not path.stem.startswith(("embedded", "finetune")))
TINY = {"light_unet": {"channels": [4, 8]},
        "nnunet_3d": {"channels": [4, 8, 8], "strides": [[1, 2, 2], 2]}, "resunet_2d": {"channels": [4, 8, 8]},
        "unet_3d": {"channels": [4, 8, 8]}, "deeplabv3plus_resnet50": {"width": 4, "features": 8},
        "nnunet_v2": {"features": [4, 8, 8], "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]], "residual": True,
                      "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "encoder": [1, 1, 1], "decoder": [1, 1]},
        "pipo_fan": {"channels": [4, 8, 8], "input_scales": 3, "output_scales": 3}}
STEPS = 3  # of each stage


class Signal(Reporter):
    """Sends SIGTERM after a step."""

    def __init__(self, after: int) -> None:
        self.after = after

    def progress(self, stage: str, step: int, total: int) -> None:
        if stage == "training" and step == self.after:
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture(scope="module", autouse=True)
def _fewer_patches_for_the_prior():
    with pytest.MonkeyPatch.context() as patch:
        # The prior's shares come from hundreds of patches, which would be most of a tiny training.
        patch.setattr(batches, "DISTRIBUTION_PATCHES", 8)
        yield


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of 12 mm voxels: two full, two partial data sets, one scribbled and one unlabelled."""
    folder = tmp_path_factory.mktemp("Phantome ü")
    entries = []
    for seed in range(6):
        ct, labels = make_phantom((32, 32, 32), (12.0, 12.0, 12.0), seed)
        entry = {"image": f"{seed}.nii.gz", "label": f"{seed}_label.nii.gz", "name": f"case{seed}"}
        array = labels.array.copy()
        # What a partial label leaves out is 0 in its file, as in published sets.
        if seed in (2, 3):
            array[array != (1 if seed == 2 else 2)] = 0
        elif seed == 4:
            array[np.random.default_rng(0).random(array.shape) < 0.9] = 255
        elif seed == 5:
            del entry["label"]
        write_ct(folder / entry["image"], ct)
        write_labelmap(folder / f"{seed}_label.nii.gz", Volume(array, labels.grid))
        entries.append(entry)
    kinds = [("done", "full", entries[:2], []), ("livers", "partial", entries[2:3], ["liver"]),
             ("spleens", "partial", entries[3:4], ["spleen"]), ("drawn", "scribble", entries[4:5], []),
             ("rest", "unlabelled", entries[5:], [])]
    return write_yaml(folder / "manifest.yaml", {"datasets": [
        {"name": name, "kind": kind, "cases": cases} | ({"annotated": organs} if organs else {})
        for name, kind, cases, organs in kinds]})


@pytest.fixture(scope="module")
def start(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model to start from."""
    folder = tmp_path_factory.mktemp("start")
    recipe = write_yaml(folder / "r.yaml", {
        "manifest": str(manifest), "network": {"name": "light_unet", "arguments": TINY["light_unet"]}, "steps": 1,
        "workers": 0, "preprocessing": {"spacing_zyx": [12, 12, 12], "patch_zyx": [16, 32, 32]}, "use": ["full"]})
    train(load_recipe(recipe), folder / "run", False, "cpu")
    return folder / "run" / "model"


def tiny(name: str, manifest: Path, start: Path) -> list[str]:
    """Settings that make a recipe train in a second, its methods untouched."""
    recipe = load_recipe(FOLDER / f"{name}.yaml")
    # 2D and 2.5D recipes keep their one or three slices.
    depth = recipe.preprocessing.patch_zyx[0] if recipe.preprocessing.patch_zyx[0] <= 3 else 16
    changes = {"manifest": str(manifest), "preprocessing.spacing_zyx": [12, 12, 12],
               "preprocessing.patch_zyx": [depth, 32, 32], "workers": 0,
               "steps": STEPS, "batch_size": min(4, recipe.batch_size), "schedule.epoch_steps": 1,
               "schedule.patience": 1}
    if recipe.start_from is not None:
        changes["start_from"] = str(start)
    else:
        changes["network.arguments"] = TINY[recipe.network.name]
    for number, stage in enumerate(recipe.stages):
        changes[f"stages.{number}.steps"] = STEPS
        if stage.pseudo_labels is not None:
            changes[f"stages.{number}.pseudo_labels.every"] = 2
        if stage.deep_supervision.weights is not None:
            # The tiny networks have three outputs.
            changes[f"stages.{number}.deep_supervision.weights"] = [1, 1, 1]
    if recipe.validation is not None:
        changes["validation.every"] = 2
    return [f"{key}={json.dumps(value)}" for key, value in changes.items()]


@pytest.fixture(scope="module")
def finished(manifest: Path, start: Path, tmp_path_factory: pytest.TempPathFactory):
    """Runs a recipe to its end through the command, once."""
    runs: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in runs:
            runs[name] = tmp_path_factory.mktemp("runs") / name
            sets = []
            for change in tiny(name, manifest, start):
                sets += ["--set", change]
            assert main(["train", str(FOLDER / f"{name}.yaml"), "-o", str(runs[name]), "--device", "cpu", *sets]) == 0
        return runs[name]
    return run


def identical(state: object, expected: object) -> bool:
    """Whether two checkpoints' contents are the same, bit for bit."""
    if isinstance(expected, torch.Tensor):
        return isinstance(state, torch.Tensor) and torch.equal(state, expected)
    if isinstance(expected, dict):
        return state.keys() == expected.keys() and all(identical(state[key], expected[key]) for key in expected)
    if isinstance(expected, list | tuple):
        return len(state) == len(expected) and all(map(identical, state, expected))
    return state == expected


def state_of(folder: Path) -> dict:
    return torch.load(folder / "checkpoints" / "last.pt", weights_only=True)


def stages_of(name: str) -> int:
    return len(load_recipe(FOLDER / f"{name}.yaml").resolved_stages())


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_to_a_model(name, finished):
    folder = finished(name)
    assert load_bundle(folder / "model").network_name
    state = state_of(folder)
    assert state["step"] == STEPS * stages_of(name)
    assert state["stage"] == stages_of(name)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_resumes_bit_for_bit(name, finished, manifest, start, tmp_path):
    """Stopped within its last stage: dual variables, snapshot, plateau, moving average and best figures go on."""
    recipe: Recipe = load_recipe(FOLDER / f"{name}.yaml", tiny(name, manifest, start))
    stop = STEPS * stages_of(name) - 1
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", False, "cpu", Signal(stop))
    assert state_of(tmp_path / "run")["step"] == stop
    train(recipe, tmp_path / "run", True, "cpu")
    resumed, expected = state_of(tmp_path / "run"), state_of(finished(name))
    assert [part for part in expected if not identical(resumed[part], expected[part])] == []
    weights = "model/models/model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (finished(name) / weights).read_bytes()


def test_a_run_stopped_between_stages_resumes_bit_for_bit(finished, manifest, start, tmp_path):
    recipe = load_recipe(FOLDER / "pann_3d.yaml", tiny("pann_3d", manifest, start))
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", False, "cpu", Signal(STEPS))
    assert state_of(tmp_path / "run")["stage"] == 1
    train(recipe, tmp_path / "run", True, "cpu")
    assert identical(state_of(tmp_path / "run"), state_of(finished("pann_3d")))


@pytest.mark.parametrize("name", ["pann_2d", "pipo_fan", "full"])
def test_2d_and_25d_and_3d_models_segment_a_volume(name, finished, manifest, tmp_path):
    ct = manifest.parent / "0.nii.gz"
    assert main(["segment", str(ct), "-o", str(tmp_path), "--model", str(finished(name) / "model"), "--no-preview",
                 "--device", "cpu"]) == 0
    assert read_labelmap(tmp_path / "0.labels.nii.gz").array.shape == (32, 32, 32)


def test_what_a_method_consists_of_was_at_work(finished):
    """The prior's dual variables moved, the snapshot is older than the network, the best validation is kept."""
    pann = state_of(finished("pann_3d"))
    duals = [value for key, value in pann["losses"].items() if "log_minus_nu" in key]
    shares = [value for key, value in pann["losses"].items() if key.endswith(".q")]
    assert len(duals) == 1
    assert not torch.allclose(duals[0], -shares[0].clamp_min(1e-30).log(), rtol=0, atol=1e-7)
    assert not identical(pann["snapshot"], pann["network"])
    assert pann["optimiser"]["param_groups"][1]["maximize"]
    best = state_of(finished("marginal"))["validation"]["figures"]
    assert 0 <= best["mean"] <= 1
    assert load_bundle(finished("marginal") / "model").metadata.partialorganseg.metrics["validation_dice"] == best
