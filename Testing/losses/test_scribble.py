"""Entropy, intensity variance and CRF energy against the formulas of Luo 2021 and Tang 2018, stated again in numpy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.losses import Entropy, IntensityVariance, WindowedCRF
from PartialOrganSegLib.losses.intensity import FORMS
from Testing.helpers.loss_batches import (
    OVERLAPPING,
    PARTITION,
    SINGLETONS,
    all_rows,
    batch,
    random_case,
    random_image,
    softmax,
)

TABLES = [PARTITION, OVERLAPPING, SINGLETONS]


@pytest.mark.parametrize("table", TABLES)
def test_entropy_in_nats_over_voxels_that_have_a_choice(table):
    logits, codes = random_case(0, table)
    p, sets, _ = all_rows(logits, codes, table)
    expected = -(p * np.log(p)).sum(1)[sets.sum(1) > 1].mean()
    assert float(Entropy()(*batch(logits, codes, table))) == pytest.approx(expected, rel=1e-5)
    normalised = float(Entropy(normalised=True)(*batch(logits, codes, table)))
    assert normalised == pytest.approx(expected / math.log(5), rel=1e-5)


def test_entropy_of_an_undecided_network_is_log_classes():
    undecided = batch(np.zeros((1, 5, 2, 2)), np.zeros((1, 2, 2)), SINGLETONS)
    assert float(Entropy()(*undecided)) == pytest.approx(math.log(5), rel=1e-6)
    assert float(Entropy(normalised=True)(*undecided)) == pytest.approx(1, rel=1e-6)


def test_entropy_slope():
    """d/da_j of -sum p log p is -p_j (log p_j + H)."""
    logits, codes = random_case(1, PARTITION)
    # Every voxel open, so that every voxel counts.
    codes[:] = 0
    supervision = batch(logits, codes, PARTITION, grad=True)
    Entropy()(*supervision).backward()
    p = softmax(logits)
    entropy = -(p * np.log(p)).sum(1, keepdims=True)
    np.testing.assert_allclose(supervision.logits.grad, -p * (np.log(p) + entropy) / codes.size, atol=1e-7)


def test_entropy_is_never_negative():
    # Rounding of p log p near 0 and 1 must not make the sum negative.
    for scale in (1, 30, 1e4):
        logits = scale * np.random.default_rng(0).normal(0, 1, (1, 5, 4, 4, 4))
        assert float(Entropy()(*batch(logits, np.zeros((1, 4, 4, 4)), PARTITION))) >= 0


def printed_code(image, pred):
    """As the paper prints it, over all spatial dimensions."""
    return torch.mean(torch.std(image * pred, dim=tuple(range(2, image.ndim))))


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 3, 4, 5)])
def test_intensity_variance_as_the_printed_code(shape):
    logits, codes = random_case(2, PARTITION, shape)
    image = random_image(2, codes)
    expected = printed_code(torch.from_numpy(image).double(), torch.from_numpy(softmax(logits)))
    assert float(IntensityVariance()(*batch(logits, codes, PARTITION, image=image))) == pytest.approx(float(expected),
                                                                                                   rel=1e-5)


def test_slope_of_the_printed_code_is_autograd_of_it():
    logits, codes = random_case(3, PARTITION)
    image = random_image(3, codes)
    supervision = batch(logits, codes, PARTITION, grad=True, image=image)
    IntensityVariance()(*supervision).backward()
    raw = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    printed_code(torch.from_numpy(image).double(), torch.softmax(raw, 1)).backward()
    np.testing.assert_allclose(supervision.logits.grad, raw.grad, atol=1e-7)


@pytest.mark.parametrize("form", ["formula", "weighted"])
def test_intensity_variance_as_the_formulas(form):
    logits, codes = random_case(4, PARTITION)
    image = random_image(4, codes)
    terms = []
    for p, intensity in zip(softmax(logits), image[:, 0].astype(np.float64), strict=True):
        for q in p:
            mean = (intensity * q).sum() / q.sum()
            # Luo's equation leaves q inside the square; the weighted form is the variance that was meant.
            terms.append(((q * intensity - mean) ** 2).mean() if form == "formula"
                         else (q * (intensity - mean) ** 2).sum() / q.sum())
    expected = np.mean(terms) if form == "formula" else np.sum(terms) / len(logits)
    value = float(IntensityVariance(form)(*batch(logits, codes, PARTITION, image=image)))
    assert value == pytest.approx(expected, rel=1e-5)


def test_weighted_form_prefers_the_right_mask():
    """Two brightness levels: the mask of the bright block scores below every shifted or too large one."""
    image = np.zeros((1, 1, 12, 12), np.float32)
    image[..., 4:8, 4:8] = 1.0
    image += np.random.default_rng(0).normal(0, 0.05, image.shape).astype(np.float32)

    def score(rows: slice, columns: slice) -> float:
        mask = np.zeros((12, 12), int)
        mask[rows, columns] = 1
        logits = 20.0 * np.moveaxis(np.eye(2)[mask], -1, 0)[None]
        table = np.array([[True, True]])
        return float(IntensityVariance("weighted")(*batch(logits, np.zeros((1, 12, 12)), table, image=image)))

    right = score(slice(4, 8), slice(4, 8))
    wrong = [score(slice(4 + d, 8 + d), slice(4, 8)) for d in (-3, -2, -1, 1, 2, 3)]
    wrong += [score(slice(4 - d, 8 + d), slice(4 - d, 8 + d)) for d in (-1, 1, 2)]
    assert right < min(wrong)


def test_the_middle_of_several_channels_is_the_image():
    logits, codes = random_case(5, PARTITION)
    # A 2.5D network gets neighbours as channels; the labels are those of the middle slice.
    stack = random_image(5, codes, channels=3)
    for form in FORMS:
        value = float(IntensityVariance(form)(*batch(logits, codes, PARTITION, image=stack)))
        alone = float(IntensityVariance(form)(*batch(logits, codes, PARTITION, image=stack[:, 1:2])))
        assert value == alone


def test_unknown_only_ignores_the_brightness_of_known_voxels():
    logits, codes = random_case(6, PARTITION)
    image = random_image(6, codes)
    changed = np.where(np.isin(codes, [1, 2])[:, None], 50.0, image)
    for form in FORMS:
        loss = IntensityVariance(form, unknown_only=True)
        first, second = (float(loss(*batch(logits, codes, PARTITION, image=i))) for i in (image, changed))
        assert first == pytest.approx(second, rel=1e-6)
        everywhere = IntensityVariance(form)
        assert float(everywhere(*batch(logits, codes, PARTITION, image=changed))) > 2 * first


def test_a_form_that_does_not_exist_is_named():
    with pytest.raises(UserError, match=r"'weigthed' \(did you mean 'weighted'\?\)"):
        IntensityVariance("weigthed")


def crf_energy(p, image, unknown, radius, position, brightness, gated) -> float:
    """Every ordered pair in turn."""
    total = 0.0
    for b in range(len(p)):
        voxels = list(itertools.product(*(range(n) for n in image.shape[1:])))
        for i, j in itertools.permutations(voxels, 2):
            steps = np.subtract(i, j)
            # Gated: a pair counts where at least one of the two voxels is not labelled.
            if (np.abs(steps) > radius).any() or (gated and not (unknown[b][i] or unknown[b][j])):
                continue
            weight = np.exp(-((steps / np.asarray(position)) ** 2).sum() / 2
                            - (image[b][i] - image[b][j]) ** 2 / (2 * brightness ** 2))
            total += weight * (p[b][(slice(None), *i)] * (1 - p[b][(slice(None), *j)])).sum()
    return total / image.size


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(("shape", "radius", "position"), [
    ((2, 4, 5), 2, 6.0), ((1, 2, 4, 3), 1, 2.0), ((1, 3, 4, 3), (1, 2, 1), (0.5, 2.0, 1.0)), ((1, 3, 3), 5, 6.0)])
def test_crf_energy(shape, radius, position, gated):
    logits, codes = random_case(7, PARTITION, shape)
    image = random_image(7, codes)
    energy = WindowedCRF(radius, position, intensity_sigma=0.8, gated=gated)
    unknown = (PARTITION.sum(1) > 1)[codes]
    expected = crf_energy(softmax(logits), image[:, 0].astype(np.float64), unknown, radius, position, 0.8, gated)
    assert float(energy(*batch(logits, codes, PARTITION, image=image))) == pytest.approx(expected, rel=1e-5)


def test_crf_wants_borders_where_brightness_changes():
    image = np.zeros((1, 1, 10, 10), np.float32)
    image[..., 5:] = 1.0

    def energy(border: int) -> float:
        mask = (np.arange(10) >= border).astype(int)[None].repeat(10, 0)
        logits = 20.0 * np.moveaxis(np.eye(2)[mask], -1, 0)[None]
        return float(WindowedCRF()(*batch(logits, np.zeros((1, 10, 10)), np.array([[True, True]]), image=image)))

    # The image changes at column 5: a border there cuts only pairs that look different.
    assert energy(5) < min(energy(3), energy(4), energy(6), energy(7)) / 10


def test_gated_crf_of_known_voxels_is_zero():
    logits, codes = random_case(8, SINGLETONS)
    supervision = batch(logits, codes.clip(1), SINGLETONS, grad=True, image=random_image(8, codes))
    value = WindowedCRF(1, gated=True)(*supervision)
    value.backward()
    assert float(value.detach()) == 0.0


def test_crf_arguments_for_another_number_of_axes_are_refused():
    logits, codes = random_case(9, PARTITION)
    with pytest.raises(UserError, match=r"loss_arguments: crf\.radius: expected one number or 3, one an axis"):
        WindowedCRF((1, 1))(*batch(logits, codes, PARTITION, image=random_image(9, codes)))


@pytest.mark.parametrize("loss", [IntensityVariance(), WindowedCRF(1)])
def test_a_batch_without_image_is_refused(loss):
    with pytest.raises(ValueError, match="image"):
        loss(*batch(*random_case(0, PARTITION), PARTITION))


@pytest.mark.parametrize("shape", [(2, 4, 5), (1, 2, 4, 5)])
def test_an_image_of_another_size_is_refused(shape):
    logits, codes = random_case(0, PARTITION, (2, 4, 4))
    with pytest.raises(ValueError, match="image"):
        batch(logits, codes, PARTITION, image=np.zeros((shape[0], 1, *shape[1:])))
