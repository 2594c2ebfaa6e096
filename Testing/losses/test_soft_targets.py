"""Soft targets: KL against sets of our classes, and where the annotation contradicts the teacher."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from PartialOrganSegLib.loading.targets import at_centres
from PartialOrganSegLib.losses import DeepSupervision, MarginalCrossEntropy, SoftTargets, WeightedLosses
from Testing.helpers.loss_batches import (
    OVERLAPPING,
    PARTITION,
    SINGLETONS,
    SOFT_SETS,
    batch,
    random_case,
    random_soft,
    softmax,
    targets_of,
)

OPEN = np.ones((1, 5), bool)
EACH = np.eye(5, dtype=bool)
LOSS = SoftTargets()


def rows(array: np.ndarray) -> np.ndarray:
    """(N, channels) of (B, channels, *spatial)."""
    return np.moveaxis(np.asarray(array, np.float64), 1, -1).reshape(-1, array.shape[1])


def expected(logits, codes, table, soft, sets) -> tuple[float, np.ndarray]:
    """The loss and its slope (N, C), voxel by voxel."""
    p, values, slope = rows(softmax(logits)), [], np.zeros((codes.size, logits.shape[1]))
    targets, allowed = rows(soft), table[codes.ravel()]
    for voxel, (target, student) in enumerate(zip(targets, p, strict=True)):
        # No target, or the annotation rules out what the teacher thinks most likely: the annotation wins.
        if target.sum() == 0 or not (allowed[voxel] & sets[target.argmax()]).any():
            continue
        t = target / target.sum()
        q = np.array([student[members].sum() for members in sets])
        values.append(sum(a * np.log(a / b) for a, b in zip(t, q, strict=True) if a))
        pulled = sum(a / b * members * student for a, b, members in zip(t, q, sets, strict=True))
        slope[voxel] = student * t.sum() - pulled
    return float(np.mean(values)), slope / len(values)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), data=st.data())
def test_formula_and_slope_for_any_partition(seed, data):
    """The teacher's classes are any partition of ours, the candidate sets whatever they are."""
    # Each of the five classes goes to one of up to five classes of the teacher.
    part = np.array(data.draw(st.lists(st.integers(0, 4), min_size=5, max_size=5)))
    sets = np.array([part == number for number in np.unique(part)])
    table = data.draw(st.sampled_from([PARTITION, OVERLAPPING, SINGLETONS, OPEN]))
    logits, codes = random_case(seed, table, (2, 3, 4))
    soft = random_soft(seed, codes, sets)
    soft[:, :, 0] = 0
    soft[0, 0, 1, 0], codes[0, 1, 0] = 255, 0  # one voxel at least counts
    supervision = batch(logits, codes, table, grad=True, soft=soft, sets=sets)
    value = LOSS(*supervision)
    value.backward()
    expected_value, slope = expected(logits, codes, table, soft, sets)
    assert float(value.detach()) == pytest.approx(expected_value, rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(rows(supervision.logits.grad.numpy()), slope, atol=1e-5)


def test_certain_targets_of_single_classes_are_cross_entropy():
    logits, codes = random_case(0, OPEN)
    labels = np.random.default_rng(0).integers(0, 5, codes.shape)
    soft = np.moveaxis(EACH[labels] * np.uint8(255), -1, 1)
    value = LOSS(*batch(logits, codes, OPEN, soft=soft, sets=EACH))
    expected_value = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    assert float(value) == pytest.approx(float(expected_value), rel=1e-5)


def test_certain_targets_of_merged_classes_are_marginal_cross_entropy():
    logits, codes = random_case(1, PARTITION)
    codes = codes.clip(1)
    soft = np.moveaxis(np.eye(3, dtype=np.uint8)[codes - 1] * np.uint8(255), -1, 1)
    supervision = batch(logits, codes, PARTITION, soft=soft, sets=SOFT_SETS)
    assert float(LOSS(*supervision)) == pytest.approx(float(MarginalCrossEntropy()(*supervision)), rel=1e-5)


def test_the_scale_of_the_targets_does_not_matter():
    logits, codes = random_case(2, PARTITION)
    soft = random_soft(2, codes)
    # Files hold 0 to 255; a teacher that runs along gives probabilities.
    values = [float(LOSS(*batch(logits, codes, PARTITION, soft=scaled, sets=SOFT_SETS)))
              for scaled in (soft, (soft / 255).astype(np.float32))]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_the_students_own_probabilities_cost_nothing():
    logits, codes = random_case(3, OPEN)
    soft = np.stack([softmax(logits)[:, members].sum(1) for members in SOFT_SETS], 1).astype(np.float32)
    assert float(LOSS(*batch(logits, codes, OPEN, soft=soft, sets=SOFT_SETS))) == pytest.approx(0, abs=1e-6)


def test_the_annotation_wins():
    """A stroke of class 1 where the teacher says class 3 most: what the teacher says there changes nothing."""
    logits, codes = random_case(4, OPEN)
    table = np.vstack([OPEN, [[False, True, False, False, False]]])
    soft = random_soft(4, codes)
    soft[:, :, 0, 0, 0] = [[100, 110, 45], [200, 30, 25]]  # sets {1}, {3}, rest
    codes[:, 0, 0, 0] = 1
    # Surer, or silent: neither changes what is learnt at a voxel where the annotation wins.
    contradicting = soft.copy()
    contradicting[0, :, 0, 0, 0] = [0, 255, 0]
    nothing = soft.copy()
    nothing[0, :, 0, 0, 0] = 0
    values = [float(LOSS(*batch(logits, codes, table, soft=targets, sets=SOFT_SETS)))
              for targets in (soft, contradicting, nothing)]
    assert values[0] == values[1] == values[2]
    supervision = batch(logits, codes, table, grad=True, soft=soft, sets=SOFT_SETS)
    LOSS(*supervision).backward()
    slope = supervision.logits.grad[:, :, 0, 0, 0]
    assert (slope[0] == 0).all()
    assert (slope[1] != 0).all()  # the teacher agrees and is not sure: its doubt counts


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_up_to_ten_thousand(dtype):
    logits, codes = random_case(5, OPEN)
    soft = random_soft(5, codes)
    for extreme in (1e4 * np.sign(logits), np.full_like(logits, -1e4), 1e4 * (logits == logits.max(1, keepdims=True))):
        supervision = batch(extreme, codes, OPEN, dtype, grad=True, soft=soft, sets=SOFT_SETS)
        value = LOSS(*supervision)
        value.backward()
        assert value.dtype == torch.float32
        assert torch.isfinite(value)
        assert torch.isfinite(supervision.logits.grad).all()


def test_nothing_to_learn_from_is_exactly_zero():
    logits, codes = random_case(6, PARTITION)
    none = np.zeros((2, 3, *codes.shape[1:]), np.uint8)
    wrong = none.copy()
    wrong[:, 1] = 255  # class 3 everywhere, where the annotation says class 1
    for soft, drawn in ((None, codes), (none, codes), (wrong, np.ones_like(codes))):
        supervision = batch(logits, drawn, PARTITION, grad=True, soft=soft, sets=SOFT_SETS)
        value = LOSS(*supervision)
        value.backward()
        assert float(value.detach()) == 0
        assert (supervision.logits.grad == 0).all()


@pytest.mark.parametrize("pooled", [False, True])
def test_coarser_outputs_take_the_targets_at_their_voxels_centres(pooled):
    logits, codes = random_case(7, PARTITION, (2, 4, 8, 8))
    soft, coarse = random_soft(7, codes), random_case(8, PARTITION, (2, 2, 4, 4))[0]
    total, _ = DeepSupervision(WeightedLosses({"soft_targets": 1.0}), [0.0, 1.0], pooled)(
        [torch.from_numpy(logits), torch.from_numpy(coarse)], targets_of(codes, PARTITION, soft=soft, sets=SOFT_SETS))
    sizes = coarse.shape[2:]
    expected_value, _ = expected(coarse, at_centres(torch.from_numpy(codes), sizes).numpy(), PARTITION,
                         at_centres(torch.from_numpy(soft), sizes).numpy(), SOFT_SETS)
    assert float(total) == pytest.approx(expected_value, rel=1e-4)


def test_shapes_that_do_not_fit_are_refused():
    logits, codes = random_case(9, PARTITION)
    soft = random_soft(9, codes)
    for bad, sets in ((soft[:, :, 1:], SOFT_SETS), (soft[:, 1:], SOFT_SETS), (soft, SOFT_SETS[:, 1:]),
                      (soft[:1], SOFT_SETS)):
        with pytest.raises(ValueError, match=r"soft targets .* do not fit"):
            batch(logits, codes, PARTITION, soft=bad, sets=sets)
