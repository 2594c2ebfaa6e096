"""Marginal cross entropy and Dice against the papers' formulas, stated again in numpy with float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.losses import MarginalCrossEntropy, MarginalDice, Supervision, WeightedLosses
from Testing.helpers.loss_batches import (
    OVERLAPPING,
    PARTITION,
    SINGLETONS,
    batch,
    random_case,
    softmax,
    table_of,
    voxel_rows,
)

CE, DICE = MarginalCrossEntropy(), MarginalDice()


def expected_ce(logits, codes, table) -> float:
    probabilities, sets, _ = voxel_rows(logits, codes, table)
    return float(np.mean([-np.log(p[s].sum()) for p, s in zip(probabilities, sets, strict=True)]))


def expected_dice(logits, codes, table, per_image=False) -> float:
    """Equation 6 over the voxels whose set lies inside (z = 1) or outside (z = 0) the merged class."""
    probabilities, sets, images = voxel_rows(logits, codes, table)
    losses = []
    for image in (sorted(set(images)) if per_image else [None]):
        mine = np.ones(len(images), bool) if image is None else images == image
        p, s = probabilities[mine], sets[mine]
        for merged in np.unique(s, axis=0):
            # Voxels whose set is neither inside nor outside say nothing about the merged class and are left out.
            inside, outside = ~(s & ~merged).any(1), ~(s & merged).any(1)
            q = p[:, merged].sum(1)
            overlap = 2 * q[inside].sum() / (inside.sum() + q[inside | outside].sum())
            losses.append(1 - overlap)
    return float(np.mean(losses))


def test_uniform_logits_with_one_labelled_organ_of_sixteen():
    table = table_of(17, set(range(17)) - {1})
    value = CE(*batch(np.zeros((1, 17, 2, 2, 2)), np.ones((1, 2, 2, 2)), table))
    # 16 of 17 classes are allowed, each with probability 1/17.
    assert float(torch.exp(-value)) == pytest.approx(0.9412, abs=5e-5)


@pytest.mark.parametrize("table", [PARTITION, OVERLAPPING, SINGLETONS])
def test_cross_entropy_is_minus_log_of_the_allowed_probability(table):
    logits, codes = random_case(0, table)
    assert float(CE(*batch(logits, codes, table))) == pytest.approx(expected_ce(logits, codes, table), rel=1e-5)


def test_singletons_are_the_ordinary_cross_entropy():
    logits, codes = random_case(1, SINGLETONS)
    codes = codes.clip(1)
    plain = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(codes).long() - 1)
    assert float(CE(*batch(logits, codes, SINGLETONS))) == pytest.approx(float(plain), rel=1e-5)


def test_scribbles_are_partial_cross_entropy():
    logits, codes = random_case(2, SINGLETONS)
    plain = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(codes).long() - 1,
                                              ignore_index=-1)
    assert float(CE(*batch(logits, codes, SINGLETONS))) == pytest.approx(float(plain), rel=1e-5)


def test_merged_background_is_the_target_adaptive_loss():
    """Fang equation 8: -[sum_c y_c log p_c + 1(no organ) log(1 - sum_c p_c)], c over the annotated organs {1, 3}."""
    logits, codes = random_case(3, PARTITION)
    codes = codes.clip(1)
    p = np.moveaxis(softmax(logits.astype(np.float64)), 1, -1)
    # Code 0 was clipped to 1: every voxel is labelled, as in the paper.
    loss = np.where(codes == 1, -np.log(p[..., 1]),
                    np.where(codes == 2, -np.log(p[..., 3]), -np.log(1 - p[..., 1] - p[..., 3])))
    assert float(CE(*batch(logits, codes, PARTITION))) == pytest.approx(loss.mean(), rel=1e-5)


def test_gradient_of_marginal_cross_entropy():
    """Shi equation 8 with m(j) the merged class that contains j, divided by the number of voxels of the mean."""
    logits, codes = random_case(4, PARTITION)
    codes = codes.clip(1)
    supervision = batch(logits, codes, PARTITION, grad=True)
    CE(*supervision).backward()
    p = softmax(logits.astype(np.float64))
    expected = np.zeros_like(p)
    for merged in range(1, 4):
        members = np.flatnonzero(PARTITION[merged])
        q, z = p[:, members].sum(1), codes == merged
        for j in members:
            expected[:, j] = p[:, j] * (1 - z / q) / codes.size
    np.testing.assert_allclose(supervision.logits.grad.numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("table", [PARTITION, OVERLAPPING, SINGLETONS])
def test_dice_over_voxels(table, per_image):
    for seed in range(4):
        logits, codes = random_case(seed, table)
        value = float(MarginalDice(per_image)(*batch(logits, codes, table)))
        assert value == pytest.approx(expected_dice(logits, codes, table, per_image), rel=1e-5)


def test_dice_on_full_labels_is_the_soft_dice():
    logits, codes = random_case(5, SINGLETONS)
    codes = codes.clip(1)
    p = softmax(logits.astype(np.float64))
    truth = np.stack([codes == c + 1 for c in range(5)], 1)
    axes = (0, 2, 3, 4)
    plain = 1 - 2 * (p * truth).sum(axes) / (p.sum(axes) + truth.sum(axes))
    assert float(DICE(*batch(logits, codes, SINGLETONS))) == pytest.approx(plain.mean(), rel=1e-5)


def test_dice_per_image_counts_only_what_an_image_shows():
    logits, _ = random_case(6, SINGLETONS)
    codes = np.ones((2, 3, 4, 5), np.uint8)
    codes[1] = 2
    expected = np.mean([expected_dice(logits[i:i + 1], codes[i:i + 1], SINGLETONS) for i in range(2)])
    assert float(MarginalDice(True)(*batch(logits, codes, SINGLETONS))) == pytest.approx(expected, rel=1e-5)


def test_voxels_that_may_be_either_do_not_touch_the_dice_of_one():
    """A coarse voxel {1, 2} decides nothing about class 1 alone: only the sum of both counts."""
    table = table_of(4, {1}, {0}, {1, 2})
    codes = np.array([1, 1, 2, 3], np.uint8).reshape(1, 1, 1, 4)
    logits = np.random.default_rng(0).normal(0, 1, (1, 4, 1, 1, 4)).astype(np.float32)
    moved = logits.copy()
    # Class 1 and 2 exchange their logits in the voxel that may be either.
    moved[0, [1, 2], 0, 0, 3] = logits[0, [2, 1], 0, 0, 3]
    before, after = (float(DICE(*batch(values, codes, table))) for values in (logits, moved))
    assert after == pytest.approx(before, rel=1e-5)


def test_right_prediction_costs_nothing_and_a_wrong_one_everything():
    codes = np.random.default_rng(0).integers(1, 6, (1, 4, 4, 4)).astype(np.uint8)
    right = 60.0 * np.moveaxis(np.eye(5)[codes - 1], -1, 1)
    wrong = 60.0 * np.moveaxis(np.eye(5)[codes % 5], -1, 1)
    assert float(CE(*batch(right, codes, SINGLETONS))) == pytest.approx(0, abs=1e-6)
    assert float(DICE(*batch(right, codes, SINGLETONS))) == pytest.approx(0, abs=1e-6)
    # The loss of a wrong voxel is the difference of the logits: it grows linearly and never saturates.
    assert float(CE(*batch(wrong, codes, SINGLETONS))) == pytest.approx(60, rel=1e-4)
    assert float(DICE(*batch(wrong, codes, SINGLETONS))) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("limit", [0, 3])
@pytest.mark.parametrize("loss", [CE, DICE, MarginalDice(True),
                                  lambda *b: WeightedLosses({"marginal_cross_entropy": 1, "marginal_dice": 1})(*b)[0]])
def test_nothing_labelled_is_exactly_zero_with_a_graph(loss, limit):
    supervision = batch(np.ones((2, 5, 2, 2, 2)), np.zeros((2, 2, 2, 2)), PARTITION, grad=True, voxels_per_set=limit)
    value = loss(*supervision)
    assert float(value.detach()) == 0.0
    value.backward()
    assert not supervision.logits.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", [CE, DICE, MarginalDice(True)])
def test_extreme_logits_stay_finite(loss, dtype):
    generator = np.random.default_rng(0)
    for table in (PARTITION, OVERLAPPING, SINGLETONS):
        logits, codes = random_case(0, table)
        for extreme in (1e4 * generator.choice([-1.0, 0.0, 1.0], logits.shape), np.full(logits.shape, -1e4),
                        1e4 * np.sign(logits)):
            supervision = batch(extreme, codes, table, dtype, grad=True)
            value = loss(*supervision)
            value.backward()
            assert value.dtype == torch.float32
            assert torch.isfinite(value)
            assert torch.isfinite(supervision.logits.grad).all()


def test_low_precision_logits_lose_nothing_in_the_loss():
    logits, codes = random_case(7, PARTITION)
    rounded = torch.from_numpy(logits).bfloat16()
    for loss, expected in ((CE, expected_ce), (DICE, expected_dice)):
        value = float(loss(*batch(rounded.float().numpy(), codes, PARTITION, torch.bfloat16)))
        assert value == pytest.approx(expected(rounded.float().numpy(), codes, PARTITION), rel=1e-4)


@pytest.mark.parametrize("code", range(4))
def test_patch_of_one_voxel(code):
    supervision = batch(np.arange(5.0).reshape(1, 5, 1, 1, 1), np.full((1, 1, 1, 1), code), PARTITION, grad=True)
    total, _ = WeightedLosses({"marginal_cross_entropy": 1, "marginal_dice": 1})(*supervision)
    total.backward()
    assert torch.isfinite(supervision.logits.grad).all()


SETS = st.sets(st.integers(0, 4), min_size=1, max_size=4)


@settings(max_examples=30)
@given(st.lists(SETS, min_size=1, max_size=5), st.permutations(range(5)), st.integers(0, 1000))
def test_the_order_of_classes_does_not_matter(sets, order, seed):
    table = table_of(5, *sets)
    logits, codes = random_case(seed, table)
    for loss in (CE, DICE):
        before = float(loss(*batch(logits, codes, table)))
        after = float(loss(*batch(logits[:, order], codes, table[:, order])))
        assert after == pytest.approx(before, rel=1e-4, abs=1e-6)


@settings(max_examples=30)
@given(st.lists(SETS, min_size=1, max_size=5), st.integers(0, 1000))
def test_an_unlabelled_voxel_changes_nothing(sets, seed):
    table = table_of(5, *sets)
    logits, codes = random_case(seed, table)
    new_logits = np.random.default_rng(seed).normal(0, 5, (*logits.shape[:4], 2)).astype(np.float32)
    longer = np.concatenate([codes, np.zeros((*codes.shape[:3], 2), np.uint8)], -1)
    for loss in (CE, DICE, MarginalDice(True)):
        before = float(loss(*batch(logits, codes, table)))
        after = float(loss(*batch(np.concatenate([logits, new_logits], -1), longer, table)))
        assert after == pytest.approx(before, rel=1e-4, abs=1e-6)


@settings(max_examples=30)
@given(SETS, st.integers(0, 4), st.integers(0, 1000))
def test_a_larger_candidate_set_never_costs_more(smaller, extra, seed):
    larger = smaller | {extra}
    # All five classes are the set of an unlabelled voxel, which is not in the mean at all.
    if len(larger) == 5:
        return
    logits, _ = random_case(seed, table_of(5, smaller), (1, 2, 2, 2))
    codes = np.ones((1, 2, 2, 2), np.uint8)
    tight, loose = (float(CE(*batch(logits, codes, table_of(5, s)))) for s in (smaller, larger))
    assert loose <= tight + 1e-6
    assert loose >= -1e-6


def test_all_voxels_are_used_below_the_limit():
    logits, codes = random_case(8, OVERLAPPING)
    for loss in (CE, DICE):
        limited = float(loss(*batch(logits, codes, OVERLAPPING, voxels_per_set=codes.size)))
        assert limited == float(loss(*batch(logits, codes, OVERLAPPING)))


def test_a_part_of_the_voxels_stands_for_all():
    table = PARTITION
    logits, codes = random_case(9, table, (2, 6, 10, 10), 1.0)
    codes[:, :, 1:] = 3  # much merged background
    torch.manual_seed(0)
    counts = np.bincount(codes.ravel(), minlength=4)
    draws = [batch(logits, codes, table, voxels_per_set=100) for _ in range(200)]
    voxels = [Supervision(*draw).labelled for draw in draws]
    # Each set gives at most 100 voxels, weighted so that together they stand for all of the set.
    for code in (1, 2, 3):
        counts_drawn, stands_for = [], []
        for drawn in voxels:
            of_code = drawn.codes == code + 1  # after the code for what lies outside
            counts_drawn.append(int(of_code.sum()))
            stands_for.append(float(drawn.weights[of_code].sum()))
        assert np.mean(counts_drawn) == pytest.approx(min(100, counts[code]), rel=0.05)
        assert np.mean(stands_for) == pytest.approx(counts[code], rel=0.05)
    for loss, expected in ((CE, expected_ce), (DICE, expected_dice)):
        mean = np.mean([float(loss(*draw)) for draw in draws])
        assert mean == pytest.approx(expected(logits, codes, table), rel=0.02)


def test_weighted_sum_of_terms():
    logits, codes = random_case(10, PARTITION)
    losses = WeightedLosses({"marginal_cross_entropy": 2.0, "marginal_dice": 0.5})
    total, terms = losses(*batch(logits, codes, PARTITION))
    ce, dice = expected_ce(logits, codes, PARTITION), expected_dice(logits, codes, PARTITION)
    assert terms == pytest.approx({"marginal_cross_entropy": ce, "marginal_dice": dice}, rel=1e-5)
    assert float(total) == pytest.approx(2 * ce + 0.5 * dice, rel=1e-5)


def test_a_term_of_weight_zero_is_not_built():
    assert list(WeightedLosses({"marginal_cross_entropy": 1.0, "marginal_dice": 0.0}).terms) == [
        "marginal_cross_entropy"]


def test_arguments_reach_their_loss():
    losses = WeightedLosses({"marginal_dice": 1.0}, {"marginal_dice": {"per_image": True}})
    assert losses.terms["marginal_dice"].per_image


def test_unknown_loss_is_named():
    with pytest.raises(UserError, match=r"'marginal_dise' \(did you mean 'marginal_dice'\?\)"):
        WeightedLosses({"marginal_dise": 1.0})


@pytest.mark.parametrize(("logits", "codes", "classes"), [((2, 5, 2, 2, 2), (1, 2, 2, 2), 5),
                                                          ((1, 5, 2, 2, 2), (1, 2, 2, 3), 5),
                                                          ((1, 5, 2, 2, 2), (1, 2, 2, 2), 4)])
def test_shapes_that_do_not_fit_are_refused(logits, codes, classes):
    with pytest.raises(ValueError, match=r"fit the candidate map|candidate sets"):
        CE(*batch(np.zeros(logits), np.zeros(codes), table_of(classes, {1})))


def test_balanced_counts_every_used_voxel_once():
    """Four of a thousand voxels are an organ; with two voxels used of each set, half of the mean is the organ's."""
    table = table_of(2, {0}, {1})
    codes = np.ones((1, 10, 10, 10), int)
    codes[0, 0, 0, :4] = 2
    logits = np.zeros((1, 2, 10, 10, 10))
    logits[:, 0] = 8.0  # sure of the background everywhere
    logged = [float(MarginalCrossEntropy(balanced=True)(*batch(logits, codes, table, voxels_per_set=100)))
              for _ in range(20)]
    organ, background = 8 + np.log1p(np.exp(-8)), np.log1p(np.exp(-8))
    assert np.mean(logged) == pytest.approx((4 * organ + 100 * background) / 104, rel=0.1)
    plain = float(MarginalCrossEntropy()(*batch(logits, codes, table)))
    # Plainly averaged, the four voxels of the organ are lost among the background's.
    assert plain == pytest.approx((4 * organ + 996 * background) / 1000, rel=1e-4)


def test_arguments_a_loss_does_not_take_are_named():
    with pytest.raises(UserError, match=r"marginal_dice.*perimage"):
        WeightedLosses({"marginal_dice": 1.0}, {"marginal_dice": {"perimage": True}})
    with pytest.raises(UserError, match="entropy"):
        WeightedLosses({"marginal_dice": 1.0}, {"entropy": {}})
    with pytest.raises(UserError, match="above 0"):
        WeightedLosses({"marginal_dice": 0.0})
