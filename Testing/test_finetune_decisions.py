"""What a fine-tuning run decides of its recipe from the device, the memory and the annotation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from finetune_data import ORGANS

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.finetuning import preparation
from PartialOrganSegLib.finetuning.budget import Speed
from PartialOrganSegLib.finetuning.decisions import stroke_settings, training_precision
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.training.recipe import Recipe


@pytest.mark.parametrize(("device", "capability", "precision"), [
    ("cuda", (8, 6), True), ("cuda", (7, 5), "float16"), ("mps", None, False)])
def test_a_device_trains_in_the_precision_that_it_is_made_for(device, capability, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert training_precision(torch.device(device)) == precision


def test_strokes_have_a_mini_batch_of_their_own():
    assert stroke_settings([0.1, 0.2])["batch_size"] == 1
    assert stroke_settings([]) == {}


def test_too_little_memory_for_two_patches_is_enough_for_one(monkeypatch):
    fitting = 2

    def measure(recipe, *_):
        if recipe.batch_size > fitting:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Speed(1, 1, 1)

    def read_recipe(changes):
        return Recipe(manifest=Path("m.yaml")).model_copy(update={"batch_size": 2} | changes)

    monkeypatch.setattr(preparation, "measure_speed", measure)
    settings = (read_recipe, None, label_space_of_names("small", ORGANS), torch.device("cuda"), [])
    assert preparation._speed(*settings)[0] == {}
    fitting = 1
    assert preparation._speed(*settings)[0] == {"batch_size": 1}
    fitting = 0
    with pytest.raises(UserError, match=r"patch_zyx: out of memory on cuda .*another --device"):
        preparation._speed(*settings)
