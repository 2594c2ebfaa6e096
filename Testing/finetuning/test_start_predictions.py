"""What the start model finds in cases, and how much of its weights a result keeps for that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.finetuning import looking, start_predictions
from PartialOrganSegLib.finetuning.case_preparation import Translation, prepare_cases
from PartialOrganSegLib.finetuning.cases import PreparedCase
from PartialOrganSegLib.finetuning.decisions import LOW_RATE, USUAL_ALPHA, alpha_for, rate_for
from PartialOrganSegLib.finetuning.start_predictions import ENOUGH_CASES, StartPredictions
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.segmenting.predictor import Predictor
from Testing.helpers.finetune_data import ORGANS, RunListener, ct_of, only, write_cases, write_start

SPACE = label_space_of_names("run", ["stomach", "spleen", "left_kidney"])  # the start model's: liver, spleen, kidney


def prepared_cases(folder: Path, labels, kind: str = "partial", annotated=("spleen",)) -> list[PreparedCase]:
    manifest = load_manifest(write_cases(folder, labels, kind, annotated))
    return prepare_cases(manifest.cases, Translation(manifest.label_space, SPACE), (3.0, 2.0, 2.0),
                         folder / "prepared", Reporter())


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return write_start(tmp_path_factory.mktemp("models") / "start", seed=3)


def test_dice_is_of_the_organs_that_the_cases_show(start, tmp_path):
    cases = prepared_cases(tmp_path, [only(ct_of(0)[1], 2), only(ct_of(1)[1], 2, 3)],
                           annotated=("spleen", "left_kidney"))
    predictions = StartPredictions(start, SPACE, torch.device("cpu"))
    predictor = Predictor(start, device="cpu")
    predicted = [predictor.predict(case.read_image()).labels.array
             for case in load_manifest(tmp_path / "manifest.yaml").cases]
    assert all(len(np.unique(labels)) > 1 for labels in predicted)  # random weights that find something
    for case, labels in zip(cases, predicted, strict=True):
        in_run_space = predictions.labels(case)
        assert not (in_run_space == 1).any()  # the start model does not have the stomach
        assert ((in_run_space == 0) == np.isin(labels, (0, 1))).all()  # the run does not have the liver
        assert ((in_run_space == 2) == (labels == 2)).all()
    # The mean over organs of the mean over cases: an organ that many cases show does not count more.
    spleens = [dice(labels == 2, ct_of(seed)[1] == 2) for seed, labels in enumerate(predicted)]
    kidney = dice(predicted[1] == 3, ct_of(1)[1] == 3)
    assert predictions.dice(cases, 100, Reporter()) == pytest.approx(np.mean([np.mean(spleens), kidney]))


def test_another_look_at_a_case_takes_as_long_as_its_size_says(start, tmp_path):
    cases = prepared_cases(tmp_path, [only(ct_of(0)[1], 2)])
    predictions = StartPredictions(start, SPACE, torch.device("cpu"))
    assert predictions.expected_seconds(cases[0]) is None
    predictions.labels(cases[0])
    z, y, x = cases[0].shape
    twice = replace(cases[0], shape=(2 * z, y, x))
    assert 0 < 2 * predictions.expected_seconds(cases[0]) == pytest.approx(predictions.expected_seconds(twice))


def test_without_an_organ_to_compare_dice_is_none(start, tmp_path):
    predictions = StartPredictions(start, label_space_of_names("new", ["stomach"]), torch.device("cpu"))
    assert predictions.dice(prepared_cases(tmp_path, [None]), 100, Reporter()) is None
    assert predictions.dice(prepared_cases(tmp_path / "2", [only(ct_of(0)[1], 2)]), 100, Reporter()) is None
    with_spleen = StartPredictions(start, SPACE, torch.device("cpu"))
    drawn = np.where(ct_of(0)[1] == 2, 2, 255).astype(np.uint8)
    assert with_spleen.dice(prepared_cases(tmp_path / "3", [drawn], "scribble"), 100, Reporter()) is None


@pytest.mark.parametrize(("kind", "annotated", "reported"), [
    ("full", ORGANS, True), ("partial", ["spleen", "left_kidney"], True), ("partial", ["left_kidney"], False)])
def test_an_organ_that_a_label_denies_and_the_start_model_finds_is_reported(start, tmp_path, monkeypatch, kind,
                                                                            annotated, reported):
    predicted = Predictor(start, device="cpu").predict(load_manifest(
        write_cases(tmp_path / "both", [None, ct_of(1)[1]])).cases[1].read_image()).labels
    spleen_ml = (predicted.array == 2).sum() * predicted.grid.voxel_ml
    assert spleen_ml > 0
    # Exactly at the limit it is reported, a hundredth above it is not.
    monkeypatch.setattr(start_predictions, "REPORTED_ML", spleen_ml)
    reporter = RunListener()
    StartPredictions(start, SPACE, torch.device("cpu")).dice(
        prepared_cases(tmp_path, [None, only(ct_of(1)[1], 3)], kind, annotated), 100, reporter)
    line = "case1: its label says that there is none of what the start model finds there: "
    line += f"spleen ({spleen_ml:.0f} ml)"
    assert any(warning.startswith(line) for warning in reporter.warnings) is reported
    monkeypatch.setattr(start_predictions, "REPORTED_ML", spleen_ml * 1.01)
    reporter = RunListener()
    StartPredictions(start, SPACE, torch.device("cpu")).dice(
        prepared_cases(tmp_path, [None, only(ct_of(1)[1], 3)], kind, annotated), 100, reporter)
    assert reporter.warnings == []


def test_a_few_cases_are_enough_and_fewer_where_there_is_no_time(start, tmp_path, monkeypatch):
    calls = []

    class Counting(Predictor):
        def predict(self, ct, *arguments):
            calls.append(ct)
            return super().predict(ct, *arguments)

    monkeypatch.setattr(looking, "Predictor", Counting)
    cases = prepared_cases(tmp_path, [only(ct_of(seed)[1], 2) for seed in range(ENOUGH_CASES + 1)])
    predictions = StartPredictions(start, SPACE, torch.device("cpu"))
    predictions.dice(cases, 100, Reporter())
    assert len(calls) == ENOUGH_CASES
    StartPredictions(start, SPACE, torch.device("cpu")).dice(cases, 0, Reporter())
    assert len(calls) == ENOUGH_CASES + 1  # no time for a second one


def test_a_ct_too_large_to_be_segmented_is_reported_and_still_learnt_from(start, tmp_path, monkeypatch):
    def full(self, ct, *arguments):
        raise UserError("expected 90 GB of memory")

    monkeypatch.setattr(Predictor, "predict", full)
    reporter = RunListener()
    predictions = StartPredictions(start, SPACE, torch.device("cpu"))
    assert predictions.dice(prepared_cases(tmp_path, [only(ct_of(0)[1], 2)]), 100, reporter) is None
    assert reporter.warnings == ["case0: the start model could not be looked at: expected 90 GB of memory"]


def test_a_start_model_that_knows_less_keeps_a_smaller_share():
    assert alpha_for(None) == USUAL_ALPHA
    assert [alpha_for(dice) for dice in (0.0, 0.3, 0.45, 0.6, 1.0)] == [1, 1, 0.75, 0.5, 0.5]


def test_a_start_model_that_knows_less_learns_faster():
    assert rate_for(None, beside=False) == LOW_RATE
    assert [rate_for(dice, beside=False) for dice in (0.0, 0.3, 0.45, 0.6, 1.0)] == [1e-3, 1e-3, 4e-4, 2e-4, 2e-4]
    assert rate_for(1.0, beside=True) == 1e-3  # it stays whole


@given(st.floats(0, 1), st.floats(0, 1))
def test_alpha_falls_with_what_is_known(first, second):
    assert 1 >= alpha_for(min(first, second)) >= alpha_for(max(first, second)) >= 0.5
