"""Losses on sparsely labelled images: strokes are no fair sample of the classes, and no masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.losses import Distillation, MarginalCrossEntropy, MarginalDice, Supervision
from Testing.helpers.loss_batches import OVERLAPPING, SINGLETONS, batch, random_case, softmax, targets_of

SHAPE = (2, 6, 8, 8)
# The share of each class's voxels that people draw on: far less of the background than of an organ.
RATES = [0.001, 0.05, 0.02, 0.1, 0.03]


def drawn_and_masked(seed: int, table: np.ndarray, voxels: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and codes of two images: some drawn voxels in the first, all labelled in the second."""
    logits, codes = random_case(seed, table, SHAPE)
    codes = codes.clip(1)
    keep = np.random.default_rng(seed).permutation(codes[0].size)[:voxels]
    drawn = np.zeros(codes[0].size, np.uint8)
    drawn[keep] = codes[0].ravel()[keep]
    codes[0] = drawn.reshape(codes[0].shape)
    return logits, codes


def test_which_images_are_drawn_in():
    logits, codes = drawn_and_masked(0, SINGLETONS)
    assert Supervision(*batch(logits, codes, SINGLETONS)).sparsely_labelled.tolist() == [True, False]


@pytest.mark.parametrize("table", [SINGLETONS, OVERLAPPING])
def test_cross_entropy_among_drawn_voxels(table):
    """Bayes: P(c | x, drawn) = P(drawn | c) P(c | x) / sum_k P(drawn | k) P(k | x); masks as ever."""
    logits, codes = drawn_and_masked(1, table)
    p = np.moveaxis(softmax(logits), 1, -1)
    among_drawn = p[0] * RATES
    p[0] = among_drawn / among_drawn.sum(-1, keepdims=True)
    sets = table[codes]
    labelled = ~sets.all(-1)
    expected = -np.log((p * sets).sum(-1))[labelled].mean()
    value = float(MarginalCrossEntropy(draw_rates=RATES)(*batch(logits, codes, table)))
    assert value == pytest.approx(expected, rel=1e-5)
    assert value != pytest.approx(float(MarginalCrossEntropy()(*batch(logits, codes, table))), rel=1e-2)


@settings(max_examples=20)
@given(st.floats(1e-6, 1e3), st.integers(0, 50))
def test_equal_rates_change_nothing(rate, seed):
    logits, codes = drawn_and_masked(seed, SINGLETONS)
    plain, with_equal_rates = (float(MarginalCrossEntropy(draw_rates=rates)(*batch(logits, codes, SINGLETONS)))
                   for rates in ([], [rate] * 5))
    assert with_equal_rates == pytest.approx(plain, rel=1e-4)


def test_what_is_learnt_is_the_share_of_all_voxels_not_of_drawn_ones():
    """One logit vector for all voxels: with rates its best value is the share in the image, without in strokes."""
    generator = np.random.default_rng(0)
    classes = generator.choice(5, 200_000, p=[0.9, 0.04, 0.03, 0.02, 0.01])
    rates = np.array([0.004, 0.2, 0.2, 0.2, 0.2])
    drawn = generator.random(classes.size) < rates[classes]
    codes = np.where(drawn, classes + 1, 0).astype(np.uint8).reshape(1, 1, 400, 500)
    shares = {}
    for name, given_rates in (("all", rates.tolist()), ("drawn", [])):
        logits = torch.zeros(5, requires_grad=True)
        # One vector for 200,000 voxels: the minimum is exact, not where some steps of descent got to.
        optimiser = torch.optim.LBFGS([logits], max_iter=50)
        loss = MarginalCrossEntropy(draw_rates=given_rates)

        def closure(logits=logits, optimiser=optimiser, loss=loss):
            optimiser.zero_grad()
            value = loss(logits.view(1, 5, 1, 1, 1).expand(1, 5, 1, 400, 500), targets_of(codes, SINGLETONS))
            value.backward()
            return value

        optimiser.step(closure)
        shares[name] = torch.softmax(logits.detach(), 0).numpy()
    np.testing.assert_allclose(shares["all"], np.bincount(classes) / classes.size, atol=0.02)
    np.testing.assert_allclose(shares["drawn"], np.bincount(classes[drawn]) / drawn.sum(), atol=0.002)
    # Nine tenths of the voxels are background; strokes alone would teach less than a fifth.
    assert shares["drawn"][0] < 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_for_large_logits(dtype):
    logits, codes = drawn_and_masked(2, SINGLETONS)
    supervision = batch(logits * 5e3, codes, SINGLETONS, dtype, grad=True)
    loss = MarginalCrossEntropy(draw_rates=RATES)(*supervision)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(supervision.logits.grad).all()


def test_a_rate_of_nothing_is_refused():
    with pytest.raises(UserError, match=r"draw_rates: expected more than 0 for every class, found \[0.1, 0.0\]"):
        MarginalCrossEntropy(draw_rates=[0.1, 0.0])


def test_a_rate_for_every_class_is_asked_for():
    with pytest.raises(UserError, match="draw_rates: expected 5, one for each class, found 2"):
        MarginalCrossEntropy(draw_rates=[0.1, 0.1])(*batch(*random_case(0, SINGLETONS), SINGLETONS))


def test_the_teacher_counts_more_where_strokes_are():
    logits, codes = drawn_and_masked(4, OVERLAPPING)
    teacher, _ = drawn_and_masked(5, OVERLAPPING)
    unknown = (OVERLAPPING[codes].sum(-1) > 1).sum((1, 2, 3))
    by_image = [float(Distillation()(*batch(logits[i:i + 1], codes[i:i + 1], OVERLAPPING, teacher=teacher[i:i + 1])))
            for i in range(2)]
    value = float(Distillation(drawn_weight=5.0)(*batch(logits, codes, OVERLAPPING, teacher=teacher)))
    assert value == pytest.approx((5 * by_image[0] * unknown[0] + by_image[1] * unknown[1]) / unknown.sum(), rel=1e-5)


def test_dice_of_masks_only():
    logits, codes = drawn_and_masked(3, SINGLETONS)
    value = float(MarginalDice(masks_only=True)(*batch(logits, codes, SINGLETONS)))
    assert value == pytest.approx(float(MarginalDice()(*batch(logits[1:], codes[1:], SINGLETONS))), rel=1e-6)
    # An image with strokes alone has no Dice, and no slope either.
    strokes = batch(logits[:1], codes[:1], SINGLETONS, grad=True)
    loss = MarginalDice(masks_only=True)(*strokes)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not strokes.logits.grad.any()
