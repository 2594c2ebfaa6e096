"""What lies outside the image counts in no loss, and does not make a fully labelled patch a partial one (Zhou 2019)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from PartialOrganSegLib.losses import LOSSES, Prior, PriorPrimalDual, Supervision, prior_distribution
from Testing.helpers.loss_batches import (
    OVERLAPPING,
    PARTITION,
    SINGLETONS,
    SOFT_SETS,
    batch,
    random_case,
    random_image,
    random_soft,
    softmax,
)

Q = (0.7, 0.1, 0.1, 0.05, 0.05)
ARGUMENTS = {"prior": {"q": Q}, "prior_primal_dual": {"q": Q}, "crf": {"radius": 1}}


@pytest.mark.parametrize("form", [Prior, PriorPrimalDual])
def test_a_padded_voxel_makes_no_partial_patch_of_a_full_one(form):
    """The former code took padding for an unknown voxel: every padded patch of a full case was counted in pbar."""
    logits, codes = random_case(0, SINGLETONS)
    outside = np.zeros(codes.shape, bool)
    # Codes are clipped to labelled ones: only the padding could make these patches look partial.
    outside[:, 0] = True
    case = batch(logits, codes.clip(1), SINGLETONS, grad=True, outside=outside, fully_labelled=[True, True])
    value = form(Q)(*case)
    value.backward()
    assert float(value.detach()) == 0.0
    assert not case.logits.grad.any()


def test_whether_a_case_is_full_is_not_read_off_the_patch():
    """A patch of a partial case in which all is certain counts in pbar; one of a full case never does."""
    logits, codes = random_case(1, SINGLETONS)
    codes = codes.clip(1)
    mean = softmax(logits[1:]).mean((0, 2, 3, 4))
    expected = -(Q * np.log(mean) + (1 - np.array(Q)) * np.log(1 - mean)).sum()
    value = Prior(Q)(*batch(logits, codes, SINGLETONS, fully_labelled=[True, False]))
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


def test_the_mean_is_over_the_voxels_inside():
    logits, codes = random_case(2, PARTITION)
    outside = np.random.default_rng(2).random(codes.shape) < 0.3
    mean = np.moveaxis(softmax(logits), 1, -1)[~outside].mean(0)
    expected = -(Q * np.log(mean) + (1 - np.array(Q)) * np.log(1 - mean)).sum()
    value = Prior(Q)(*batch(logits, codes, PARTITION, outside=outside, fully_labelled=[False, False]))
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


def test_a_patch_wholly_outside_says_nothing():
    logits, codes = random_case(3, PARTITION)
    for flags in (None, [False, False]):
        case = batch(logits, codes, PARTITION, outside=np.ones(codes.shape, bool), fully_labelled=flags)
        assert float(Prior(Q)(*case)) == 0.0


def test_shares_of_classes_do_not_count_it():
    codes = [np.array([[1, 1, 2, 0], [3, 1, 1, 1]], np.uint8)]
    # Row 1 is "outside the image": any class, as row 0, but counted nowhere.
    table = np.insert(SINGLETONS, 1, True, axis=0)
    np.testing.assert_allclose(prior_distribution(codes, table), [0.5, 0.5, 0, 0, 0])


@pytest.mark.parametrize("limit", [0, 20])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [(2, 6, 7), (2, 3, 4, 5)])
def test_logits_outside_change_no_loss(name, shape, limit):
    """Whatever the network says of padding, value and slope inside are the same, and the slope outside is 0."""
    logits, codes = random_case(4, OVERLAPPING, shape)
    outside = np.random.default_rng(4).random(codes.shape) < 0.4
    # Other values in the padding, of no special kind.
    changed = np.where(outside[:, None], -3 * logits + 1, logits)
    soft = random_soft(4, codes) * ~outside[:, None]  # nor does a teacher say anything of it
    values, slopes = [], []
    for scores in (logits, changed):
        case = batch(scores, codes, OVERLAPPING, grad=True, voxels_per_set=limit, outside=outside, soft=soft,
                     sets=SOFT_SETS, image=np.where(outside[:, None], scores[:, :1], random_image(4, codes)),
                     teacher=np.roll(scores, 1, axis=1))
        # Losses that draw voxels must draw the same ones in both runs.
        torch.manual_seed(0)
        value = LOSSES[name](**ARGUMENTS.get(name, {}))(*case)
        value.backward()
        values.append(float(value.detach()))
        slopes.append(np.moveaxis(case.logits.grad.numpy(), 1, -1))
    # A loss that is 0 everywhere would pass all that follows.
    assert values[0] != 0.0
    assert values[1] == pytest.approx(values[0], rel=1e-5)
    np.testing.assert_allclose(slopes[1][~outside], slopes[0][~outside], atol=1e-6)
    assert not slopes[1][outside].any()


def test_sparsely_labelled_is_said_of_what_lies_inside():
    """A full label of a patch that is padding for the most part is no stroke."""
    logits, codes = random_case(5, SINGLETONS, (1, 10, 10))
    outside = np.ones(codes.shape, bool)
    outside[0, 0, :5] = False
    case = batch(logits, codes.clip(1), SINGLETONS, outside=outside)
    assert Supervision(*case).sparsely_labelled.tolist() == [False]
