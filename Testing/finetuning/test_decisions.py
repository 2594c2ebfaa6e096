"""What a fine-tuning run decides of its recipe from the device, the memory and the annotation."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.finetuning import speed
from PartialOrganSegLib.finetuning.decisions import next_name, start_settings, stroke_settings, training_precision
from PartialOrganSegLib.finetuning.speed import Speed, fitting_speed
from PartialOrganSegLib.models.folders import NAME_PATTERN
from PartialOrganSegLib.models.metadata import Licences
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.training.recipe import Recipe
from PartialOrganSegLib.training.transfer import ClassMap
from Testing.helpers.finetune_data import ORGANS, write_start


@pytest.mark.parametrize(("start", "name"), [
    ("embedded", "embedded-finetuned"), ("embedded-finetuned", "embedded-finetuned-2"),
    ("embedded-finetuned-9", "embedded-finetuned-10"), ("finetuned", "finetuned-finetuned")])
def test_a_model_is_called_after_its_start_model(start, name):
    assert next_name(start) == name


def test_the_terms_of_the_cases_are_said_once_in_any_generation(tmp_path):
    start = write_start(tmp_path / "ä")
    classes = ClassMap.between(start.label_space, start.label_space)

    def terms_of(model):
        return start_settings(model, classes, tmp_path, None, torch.device("cpu"))["bundle.licences"]

    first = terms_of(start)
    assert first["data"] == "CC0-1.0; and the cases fine-tuned on, whose terms are their owner's"
    section = start.metadata.partialorganseg
    tuned = section.model_copy(update={"licences": Licences(**first)})
    assert terms_of(replace(start, metadata=start.metadata.model_copy(update={"partialorganseg": tuned}))) == first


@given(st.from_regex(NAME_PATTERN, fullmatch=True))
def test_generations_of_models_have_names_of_their_own(start):
    names = [start]
    for _ in range(12):
        names.append(next_name(names[-1]))
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(NAME_PATTERN, name) for name in names)


@pytest.mark.parametrize(("device", "capability", "precision"), [
    ("cuda", (8, 6), True), ("cuda", (7, 5), "float16"), ("mps", None, False)])
def test_a_device_trains_in_the_precision_that_it_is_made_for(device, capability, precision, monkeypatch):
    # From 8.0 on bfloat16 is made in hardware; older cards have float16 alone, Apple's GPUs gain by neither.
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert training_precision(torch.device(device)) == precision


def test_strokes_have_a_mini_batch_of_their_own():
    assert stroke_settings([0.1, 0.2])["batch_size"] == 1
    assert stroke_settings([]) == {}


def test_too_little_memory_for_two_patches_is_enough_for_one(monkeypatch):
    # How many patches fit, as a card of that size would have it.
    fitting = 2

    def measure(recipe, *_):
        if recipe.batch_size > fitting:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Speed(1, 1, 1)

    monkeypatch.setattr(speed, "measure_speed", measure)
    recipes = [Recipe(manifest=Path("m.yaml"), batch_size=batch_size) for batch_size in (2, 1)]
    settings = (recipes, None, label_space_of_names("small", ORGANS), torch.device("cuda"), [])
    assert fitting_speed(*settings)[0] == 0
    fitting = 1
    assert fitting_speed(*settings)[0] == 1
    fitting = 0
    with pytest.raises(UserError, match=r"preprocessing\.patch_zyx: out of memory on cuda .*another --device"):
        fitting_speed(*settings)
