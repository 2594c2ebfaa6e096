"""Exclusion and target adaptive losses against the formulas of Shi 2021 and Fang 2020, stated again in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from PartialOrganSegLib.losses import ExclusionCrossEntropy, ExclusionDice, TargetAdaptive
from Testing.helpers.loss_batches import OVERLAPPING, PARTITION, SINGLETONS, batch, random_case, table_of, voxel_rows


def exclusion_masks(sets: np.ndarray) -> np.ndarray:
    """(N, C): e_n. The union of labelled organs' masks (sets without background) that hold something else than n."""
    masks = np.zeros(sets.shape)
    for voxel, candidates in enumerate(sets):
        if not candidates[0]:
            for organ in range(1, sets.shape[1]):
                masks[voxel, organ] = not candidates[organ]
    return masks


def expected_dice(logits, codes, table) -> np.ndarray:
    p, sets, _ = voxel_rows(logits, codes, table)
    e = exclusion_masks(sets)
    return np.array([2 * (e[:, n] * p[:, n]).sum() / (e[:, n].sum() + p[:, n].sum())
                     for n in range(1, table.shape[1]) if e[:, n].any()])


@pytest.mark.parametrize("table", [PARTITION, OVERLAPPING, SINGLETONS])
def test_exclusion_dice(table):
    logits, codes = random_case(0, table)
    expected = expected_dice(logits, codes, table)
    assert float(ExclusionDice()(*batch(logits, codes, table))) == pytest.approx(expected.sum(), rel=1e-5)
    assert float(ExclusionDice(average=True)(*batch(logits, codes, table))) == pytest.approx(expected.mean(), rel=1e-5)


@pytest.mark.parametrize("table", [PARTITION, OVERLAPPING, SINGLETONS])
def test_exclusion_cross_entropy(table):
    logits, codes = random_case(1, table)
    p, sets, _ = voxel_rows(logits, codes, table)
    expected = (exclusion_masks(sets) * np.log(p + 1)).sum(1).mean()
    assert float(ExclusionCrossEntropy()(*batch(logits, codes, table))) == pytest.approx(expected, rel=1e-5)
    average = float(ExclusionCrossEntropy(average=True)(*batch(logits, codes, table)))
    assert average == pytest.approx(expected / 4, rel=1e-5)


def test_cases_with_different_organs_exclude_different_things():
    """Case 0 knows organ 1, case 1 organ 2: each keeps the other organs, the other case's too, out of its own organ."""
    table = table_of(4, {1}, {0, 2, 3}, {2}, {0, 1, 3})
    codes = np.array([[1, 1, 2, 2], [3, 3, 4, 4]], np.uint8).reshape(2, 1, 4)
    # The right class of each code; the codes of merged background are right as background.
    organ = {1: 1, 2: 0, 3: 2, 4: 0}
    logits = np.full((2, 4, 1, 4), -20.0)
    for b in range(2):
        for x in range(4):
            logits[b, organ[int(codes[b, 0, x])], 0, x] = 20.0
    for loss in (ExclusionDice(), ExclusionCrossEntropy()):
        assert float(loss(*batch(logits, codes, table))) == pytest.approx(0, abs=1e-6)
        # In turn an organ that neither case knows, and the one that only the other case knows.
        for case, wrong in ((0, 2), (0, 3), (1, 1), (1, 3)):
            intruding = logits.copy()
            intruding[case, :, 0, 0] = -20.0
            intruding[case, wrong, 0, 0] = 20.0
            assert float(loss(*batch(intruding, codes, table))) > 0.05


def test_an_organ_outside_every_labelled_one_costs_nothing():
    """In the merged background of a partial label any organ may lie; only labelled organs exclude."""
    table = PARTITION
    codes = np.array([1, 2, 3, 3], np.uint8).reshape(1, 1, 1, 4)
    # Logits of 30: probabilities are 0 or 1 in float32.
    right = 30.0 * np.eye(5)[[1, 3, 0, 0]].T.reshape(1, 5, 1, 1, 4)
    organ_in_background = 30.0 * np.eye(5)[[1, 3, 2, 4]].T.reshape(1, 5, 1, 1, 4)
    for loss in (ExclusionDice(), ExclusionCrossEntropy()):
        for logits in (right, organ_in_background):
            assert float(loss(*batch(logits, codes, table))) == pytest.approx(0, abs=1e-5)


def test_background_over_an_organ_is_no_exclusion():
    codes = np.ones((1, 2, 2, 2), np.uint8)
    logits = np.zeros((1, 5, 2, 2, 2))
    logits[:, 0] = 30.0
    for loss in (ExclusionDice(), ExclusionCrossEntropy()):
        assert float(loss(*batch(logits, codes, PARTITION))) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("loss", [ExclusionDice(), ExclusionCrossEntropy()])
def test_the_slope_pushes_the_intruder_down(loss):
    codes = np.ones((1, 1, 1, 2), np.uint8)
    supervision = batch(np.zeros((1, 5, 1, 1, 2)), codes, PARTITION, grad=True)
    loss(*supervision).backward()
    gradient = supervision.logits.grad[0, :, 0, 0, 0]
    assert (gradient[2:] > 0).all()
    assert gradient[1] < 0
    # Softmax does not change when all logits move together.
    assert torch.isclose(gradient.sum(), torch.tensor(0.0), atol=1e-6)


def test_no_organ_labelled_is_zero():
    codes = np.full((1, 2, 2, 2), 3, np.uint8)  # merged background only
    for loss in (ExclusionDice(), ExclusionCrossEntropy()):
        supervision = batch(np.ones((1, 5, 2, 2, 2)), codes, PARTITION, grad=True)
        value = loss(*supervision)
        value.backward()
        assert float(value.detach()) == 0.0


@pytest.mark.parametrize("organs", [(1,), (2, 4), (1, 2, 3, 4)])
def test_target_adaptive_loss_is_equation_8(organs):
    classes = 5
    table = table_of(classes, *({c} for c in organs), set(range(classes)) - set(organs))
    logits, codes = random_case(2, table)
    codes = codes.clip(1)
    p, sets, _ = voxel_rows(logits, codes, table)
    total = 0.0
    for voxel, candidates in zip(p, sets, strict=True):
        y = [candidates.sum() == 1 and candidates[c] for c in organs]
        # On a labelled organ its cross entropy, elsewhere that of "none of the organs" (1 - sum of p_c).
        if any(y):
            total += sum(np.log(voxel[c]) for c, is_c in zip(organs, y, strict=True) if is_c)
        else:
            total += np.log(1 - sum(voxel[c] for c in organs))
    assert float(TargetAdaptive()(*batch(logits, codes, table))) == pytest.approx(-total / codes.size, rel=1e-5)
