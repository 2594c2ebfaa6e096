"""What is learnt beside a start model that stays whole: the copy answers for what was drawn, the others stay."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.finetuning.outcome import START, TUNED
from PartialOrganSegLib.finetuning.run import Result, finetune, resume
from PartialOrganSegLib.finetuning.speed import frozen_seconds, network_seconds
from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.models.bundle import Bundle, load_bundle
from PartialOrganSegLib.models.joined import join_bundles
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.training.recipe import load_recipe
from PartialOrganSegLib.training.trainer import train
from Testing.helpers.finetune_data import ORGANS, PREPROCESSING, QUICK, RunListener, ct_of, only, write_cases
from Testing.helpers.level_network import level_bundle
from Testing.helpers.training_data import HU, write_image, write_recipe

HARD = ["optimiser.learning_rate=0.5", "alpha=1"]
WEIGHTS = Path("models", "model.safetensors")


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Bundle:
    """A single network that knows livers and left kidneys."""
    folder = tmp_path_factory.mktemp("models")
    return level_bundle(folder / "one", "one", {"liver": HU[1], "left_kidney": HU[3]}, PREPROCESSING)


def tune(start: Bundle, data: Path, run: Path, reporter=None, steps: int = 24, validate=("case2",), overrides=(),
         **settings) -> Result:
    options = FinetuneOptions(steps=steps, validate=list(validate), beside=True,
                              overrides=[*QUICK, *HARD, *overrides], **settings)
    return finetune(start.folder, data, run, "cpu", options, None, reporter)


def labels_of(bundle: Bundle, seed: int, folder: Path) -> np.ndarray:
    path = write_image(folder / f"{seed}_segmented.nii.gz", ct_of(seed)[0])
    return Predictor(bundle, "cpu").predict(read_ct(path, force=True)).labels.array


@pytest.fixture(scope="module")
def spleens(tmp_path_factory) -> Path:
    """Masks of spleens in three CTs, and a CT on which nothing was drawn."""
    return write_cases(tmp_path_factory.mktemp("Milzen"), [*(only(ct_of(seed)[1], 2) for seed in range(3)), None])


@pytest.fixture(scope="module")
def finished(start, spleens, tmp_path_factory) -> tuple[Path, RunListener]:
    run, listener = tmp_path_factory.mktemp("runs") / "finished", RunListener()
    tune(start, spleens, run, listener)
    return run, listener


def test_a_new_organ_is_learnt_and_no_other_voxel_changes(start, finished, tmp_path):
    run, _ = finished
    model = load_bundle(run / "model")
    assert [(member.bundle.name, member.organs) for member in model.members] == [
        ("one", ("liver", "left_kidney")), ("one-finetuned", ("spleen",))]
    assert (model.members[0].bundle.folder / WEIGHTS).read_bytes() == (start.folder / WEIGHTS).read_bytes()
    before, after = labels_of(start, 11, tmp_path), labels_of(model, 11, tmp_path)
    spleen = after == model.label_space.index("spleen")
    truth = ct_of(11)[1] == 1 + ORGANS.index("spleen")
    assert 2 * (spleen & truth).sum() / (spleen.sum() + truth.sum()) > 0.9
    # The start model's organs keep their numbers.
    assert model.label_space.names == ("liver", "left_kidney", "spleen")
    np.testing.assert_array_equal(after[~spleen], before[~spleen])
    result = json.loads((run / "result.json").read_text("utf-8"))
    assert result["selected"] == TUNED
    assert result["dice"]["spleen"]["before"] == 0


def test_a_copy_that_has_nothing_to_keep_learns_from_the_drawings_alone(finished):
    run, listener = finished
    recipe = load_recipe(run / "recipe.yaml")
    assert recipe.beside
    assert recipe.losses["distillation"] == 0
    assert not recipe.resolved_stages()[0].sampling.background
    assert not (run / "replay").exists()
    trained = json.loads((run / "result.json").read_text("utf-8"))["lineage"]["learnt"]
    assert set(trained) == {"spleen"}
    assert "case3" not in (run / "manifest.yaml").read_text("utf-8")
    # Twice the time is the price, and it is named.
    assert any("asks 2 networks and takes about 2.0 times as long" in warning for warning in listener.warnings)


def test_beside_strokes_the_start_model_teaches_what_they_leave_open(start, tmp_path):
    labels = []
    for seed in (0, 1):
        stroke = np.full_like(ct_of(seed)[1], 255)
        stroke[3:5], stroke[:, :1] = only(ct_of(seed)[1], 2)[3:5], 0
        labels.append(stroke)
    data = write_cases(tmp_path, [*labels, None], kind="scribble")
    tune(start, data, tmp_path / "run", steps=2, validate=["none"])
    recipe = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert recipe.losses["distillation"] > 0
    assert "case2" in (tmp_path / "run" / "manifest.yaml").read_text("utf-8")


def test_a_killed_run_goes_on_to_the_same_model(start, spleens, finished, tmp_path):
    run, _ = finished
    with pytest.raises(RuntimeError, match="power cut"):
        tune(start, spleens, tmp_path / "run", RunListener(13, RuntimeError("power cut")))
    resume(tmp_path / "run", "cpu")
    weights = Path("model", "members", "one-finetuned", WEIGHTS)
    assert (tmp_path / "run" / weights).read_bytes() == (run / weights).read_bytes()


def test_a_joined_start_model_stays_whole_and_one_network_more_is_asked(start, tmp_path):
    """Of a known organ that got no better the copy keeps nothing, but it has to have an organ."""
    second = level_bundle(tmp_path / "two", "two", {"spleen": HU[2]}, PREPROCESSING)
    joined = join_bundles(tmp_path / "both", [start, second], "both")
    data = write_cases(tmp_path, [only(ct_of(seed)[1], 1, 2) for seed in range(3)],
                       annotated=["liver", "spleen", "aorta"], label_space=["liver", "spleen", "aorta"])
    overrides = ["optimiser.learning_rate=0.00001", "new_class_patches=0"]
    result = tune(joined, data, tmp_path / "run", steps=2, overrides=overrides)
    assert result.outcome.selected == START
    organs = {member.bundle.name: member.organs for member in result.bundle.members}
    assert set(organs) == {"one", "two", "both-finetuned"}
    assert organs["both-finetuned"]
    assert sorted(name for names in organs.values() for name in names) == sorted(result.bundle.label_space.names)


def test_a_known_organ_that_got_no_better_leaves_the_start_model_selected(start, tmp_path):
    data = write_cases(tmp_path, [only(ct_of(seed)[1], 1) for seed in range(3)], annotated=["liver"],
                       label_space=["liver", "left_kidney"])
    result = tune(start, data, tmp_path / "run", steps=2, overrides=["optimiser.learning_rate=0.00001"])
    assert result.outcome.selected == START
    assert [member.organs for member in result.bundle.members] == [("left_kidney",), ("liver",)]


def test_a_recipe_that_has_nothing_to_learn_beside_is_refused(start, spleens, tmp_path):
    recipe = write_recipe(tmp_path, spleens, steps=1, start_from=str(start.folder), network=None, beside=True,
                          bundle={"name": "again"})
    small = "network={name: light_unet, arguments: {channels: [8, 8]}}"
    with pytest.raises(UserError, match="beside: expected a model as start_from, found none"):
        train(load_recipe(recipe, ["start_from=null", small]), tmp_path / "without", False, "cpu")
    data = write_cases(tmp_path / "livers", [only(ct_of(0)[1], 1)], annotated=["liver"],
                       label_space=["liver", "left_kidney"])
    with pytest.raises(UserError, match="beside: expected an organ for the network that learns"):
        train(load_recipe(recipe, [f"manifest={data}", "takes_over=[]"]), tmp_path / "nothing", False, "cpu")


def test_the_time_of_every_network_of_the_start_model_is_counted(start, monkeypatch):
    monkeypatch.setattr("PartialOrganSegLib.finetuning.speed._quickest", lambda work, device: 1.0)
    device = torch.device("cpu")
    shapes = [(8, 16, 16)]
    assert frozen_seconds(start, shapes, device) == 0
    assert frozen_seconds(start, shapes, device, beside=True) == 1
    assert network_seconds([], shapes, (1.0, 1.0, 1.0), device) == []
