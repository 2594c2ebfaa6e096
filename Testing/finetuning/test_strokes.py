"""How likely a voxel of a class is to be drawn, and that a run on strokes knows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.finetuning.case_preparation import Translation, prepare_cases
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.finetuning.preparation import prepare
from PartialOrganSegLib.finetuning.preparation_state import Request
from PartialOrganSegLib.finetuning.start_predictions import StartPredictions
from PartialOrganSegLib.finetuning.strokes import LEAST_OF_BACKGROUND, TEMPER, USUAL_RATE, draw_rates, tempered
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.resources import resource
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.training.recipe import load_recipe
from Testing.helpers.finetune_data import ORGANS, QUICK, ct_of, only, write_cases, write_start

CPU = torch.device("cpu")


def strokes(seed: int) -> np.ndarray:
    """Some spleen and some background drawn."""
    labels = ct_of(seed)[1]
    drawn = np.full(labels.shape, 255, np.uint8)
    spleen = np.argwhere(labels == 2)[::5]
    drawn[tuple(spleen.T)] = 2
    drawn[:, -1, ::4] = np.where(labels[:, -1, ::4] == 0, 0, 255)
    return drawn


def test_rates_are_drawn_voxels_by_predicted_voxels(tmp_path: Path):
    start = write_start(tmp_path / "start")
    space = label_space_of_names("small+1", [*ORGANS, "stomach"])
    drawings = [strokes(seed) for seed in range(2)]
    manifest = load_manifest(write_cases(tmp_path, drawings, "scribble"))
    cases = prepare_cases(manifest.cases, Translation(manifest.label_space, space), (3.0, 2.0, 2.0),
                          tmp_path / "prepared", Reporter())
    predictor, predicted_count = Predictor(start, device="cpu"), np.zeros(5)
    for case, seed in zip(manifest.cases, range(2), strict=True):
        labels = predictor.predict(case.read_image()).labels.array
        # Air outside the body is no place where anybody would draw: it does not count as background left undrawn.
        labels = labels[(ct_of(seed)[0] > -300) | (labels > 0)]
        predicted_count += np.bincount(labels, minlength=5)
    drawn = [(np.stack(drawings) == value).sum() for value in (0, 1, 2, 3, 4)]
    assert [number > 0 for number in drawn] == [True, False, True, False, False]
    rates = draw_rates(cases, StartPredictions(start, space, CPU), Reporter())
    assert rates == tempered(np.array(drawn, float), predicted_count)


def test_masks_have_no_rates(tmp_path: Path):
    manifest = load_manifest(write_cases(tmp_path, [ct_of(0)[1], None], "full"))
    cases = prepare_cases(manifest.cases, Translation(manifest.label_space, manifest.label_space),
                          (3.0, 2.0, 2.0), tmp_path / "prepared",
                       Reporter())
    view = StartPredictions(write_start(tmp_path / "start"), manifest.label_space, CPU)
    assert draw_rates(cases, view, Reporter()) == []


def test_organs_without_a_rate_take_the_others_median():
    rates = tempered(np.array([100, 50, 0, 20, 10.0]), np.array([1e6, 1000, 5000, 1000, 0]))
    assert rates == pytest.approx([value ** TEMPER for value in (1e-4, 0.05, 0.035, 0.02, 0.035)], rel=0.01)


def test_without_an_organ_to_compare_the_usual_rate_is_used():
    # Background that nobody drew on, and an organ that the start model does not find.
    rates = tempered(np.array([0, 50.0]), np.array([1e6, 0.0]))
    assert rates == pytest.approx([(USUAL_RATE * LEAST_OF_BACKGROUND) ** TEMPER, USUAL_RATE ** TEMPER], rel=0.01)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=2, max_size=17))
def test_every_rate_is_a_probability(counts):
    drawn, present = np.array(counts, float).T
    rates = tempered(drawn, present)
    assert len(rates) == len(counts)
    assert all(0 < rate <= 1 for rate in rates)


def test_a_run_on_strokes_knows_the_rates(tmp_path: Path):
    start = write_start(tmp_path / "start")
    recipe = resource("recipes", "finetune.yaml")
    written = {}
    for kind, labels in (("scribble", strokes(0)), ("partial", only(ct_of(0)[1], 2))):
        data = write_cases(tmp_path / kind, [labels], kind)
        options = FinetuneOptions(steps=2, replay="none", validate=["none"], overrides=QUICK)
        prepare(Request(start, data, tmp_path / f"run-{kind}", recipe, CPU, options), Reporter())
        content = yaml.safe_load((tmp_path / f"run-{kind}" / "recipe.yaml").read_text(encoding="utf-8"))
        written[kind] = content["loss_arguments"].get("marginal_cross_entropy", {}).get("draw_rates", [])
        load_recipe(tmp_path / f"run-{kind}" / "recipe.yaml")
    assert written["partial"] == []
    assert len(written["scribble"]) == 4
    assert all(0 < rate <= 1 for rate in written["scribble"])
