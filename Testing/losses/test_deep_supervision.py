"""The same losses on outputs of several resolutions, with centred and with pooled targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from PartialOrganSegLib.loading.targets import at_centres
from PartialOrganSegLib.losses import DeepSupervision, WeightedLosses
from Testing.helpers.loss_batches import (
    OVERLAPPING,
    PARTITION,
    SINGLETONS,
    batch,
    random_case,
    random_image,
    softmax,
    targets_of,
)

CE = WeightedLosses({"marginal_cross_entropy": 1.0})


def pyramid(seed: int, shape: tuple[int, ...], levels: int = 3) -> list[torch.Tensor]:
    """Random logits of 5 classes, (2, 5, *shape), each level half the size of the one before."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 5, *(size >> level for size in shape), generator=generator, requires_grad=True)
            for level in range(levels)]


@pytest.mark.parametrize("shape", [(8, 12), (4, 8, 12)])
def test_weighted_sum_over_outputs(shape):
    outputs = pyramid(0, shape)
    _, codes = random_case(0, PARTITION, (2, *shape))
    total, values = DeepSupervision(CE, [4.0, 3.0, 1.0])(outputs, targets_of(codes, PARTITION))
    alone = []
    for level, logits in enumerate(outputs):
        # A coarse voxel takes the code at its own centre, not the majority of the fine ones it covers.
        step = 2 ** level
        middle = (slice(None), *(slice(step // 2, None, step) for _ in shape))
        alone.append(float(CE(*batch(logits.detach().numpy(), codes[middle], PARTITION))[0]))
    assert float(total.detach()) == pytest.approx((4 * alone[0] + 3 * alone[1] + alone[2]) / 8, rel=1e-5)
    assert values == {"marginal_cross_entropy": pytest.approx(alone[0], rel=1e-5)}
    total.backward()
    assert all(logits.grad.abs().sum() > 0 for logits in outputs)


def test_weights_halve_and_sum_to_one_by_default():
    outputs = [torch.zeros(1, 5, 4 >> level, 4 >> level) for level in range(3)]
    total, _ = DeepSupervision(CE)(outputs, targets_of(np.ones((1, 4, 4)), SINGLETONS))
    assert float(total) == pytest.approx(np.log(5), rel=1e-5)
    outputs[0][:, 0] = 100.0  # sure and right: 4/7 of the weight cost nothing
    total, _ = DeepSupervision(CE)(outputs, targets_of(np.ones((1, 4, 4)), SINGLETONS))
    assert float(total) == pytest.approx(3 / 7 * np.log(5), rel=1e-5)


def test_one_output_is_the_plain_loss():
    logits, codes = random_case(1, OVERLAPPING)
    plain = float(CE(*batch(logits, codes, OVERLAPPING))[0])
    # Bare and as a list of one: networks without deep supervision must not need another loss.
    for outputs in (torch.from_numpy(logits), [torch.from_numpy(logits)]):
        for pooled in (False, True):
            deep = DeepSupervision(CE, pooled=pooled)
            assert float(deep(outputs, targets_of(codes, OVERLAPPING))[0]) == plain


def test_an_output_of_weight_zero_is_not_looked_at():
    outputs = pyramid(2, (4, 4), 2)
    # nnU-Net gives its coarsest output weight 0: multiplied, a NaN there would still be a NaN.
    outputs[1] = torch.full_like(outputs[1], float("nan"))
    total, _ = DeepSupervision(CE, [1.0, 0.0])(outputs, targets_of(np.ones((2, 4, 4)), PARTITION))
    assert torch.isfinite(total)


def test_another_number_of_weights_is_refused():
    with pytest.raises(ValueError, match="2 weights for 3 outputs"):
        DeepSupervision(CE, [1.0, 0.5])(pyramid(3, (4, 4)), targets_of(np.ones((2, 4, 4)), PARTITION))


def test_pooled_targets_are_fangs_equation_1():
    """-1/S sum_s 1/N_s sum_i sum_c y log p with y the average-pooled one-hot labels."""
    outputs = pyramid(4, (8, 12))
    labels = np.random.default_rng(4).integers(0, 5, (2, 8, 12))
    one_hot = np.moveaxis(np.eye(5)[labels], -1, 1)
    expected = 0.0
    for level, logits in enumerate(outputs):
        step = 2 ** level
        pooled = one_hot.reshape(2, 5, 8 // step, step, 12 // step, step).mean((3, 5))
        # All S = 3 outputs weigh the same in the paper.
        expected -= (pooled * np.log(softmax(logits.detach().numpy()))).sum(1).mean() / 3
    deep = DeepSupervision(CE, [1.0, 1.0, 1.0], pooled=True)
    total, _ = deep(outputs, targets_of(labels + 1, SINGLETONS))
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)


def test_pooled_candidate_sets_keep_their_shares():
    """Three fine voxels of sets {1}, {0, 2, 4} and anything, twice the last: 1/4 each for what is labelled."""
    logits = [torch.zeros(1, 5, 2, 2), torch.tensor([1.0, 2.0, 0.0, 3.0, -1.0]).reshape(1, 5, 1, 1).requires_grad_()]
    targets = targets_of([[[1, 3], [0, 0]]], PARTITION)
    total, _ = DeepSupervision(CE, [0.0, 1.0], pooled=True)(logits, targets)
    p = softmax(logits[1].detach().numpy()).ravel()
    assert float(total.detach()) == pytest.approx(-(np.log(p[1]) + np.log(p[[0, 2, 4]].sum())) / 2, rel=1e-5)
    total.backward()  # a coarse voxel occurs twice: both slopes arrive
    slope = p - 0.5 * np.eye(5)[1] - 0.5 * np.isin(np.arange(5), [0, 2, 4]) * p / p[[0, 2, 4]].sum()
    np.testing.assert_allclose(logits[1].grad.numpy().ravel(), slope, atol=1e-6)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("shape", [(4, 8), (4, 4, 8)])
def test_losses_that_need_image_and_teacher(shape, pooled):
    outputs = pyramid(5, shape)
    _, codes = random_case(5, OVERLAPPING, (2, *shape))
    losses = WeightedLosses({"intensity": 1.0, "distillation": 1.0, "crf": 1.0, "entropy": 1.0, "marginal_dice": 1.0},
                            {"crf": {"radius": 1}})
    total, values = DeepSupervision(losses, pooled=pooled)(
        outputs, targets_of(codes, OVERLAPPING, voxels_per_set=20, image=random_image(5, codes),
                            teacher=outputs[0].detach() * 2))
    total.backward()
    assert set(values) == set(losses.terms)
    assert all(torch.isfinite(logits.grad).all() and logits.grad.any() for logits in outputs)


@pytest.mark.parametrize("pooled", [False, True])
def test_nothing_labelled_is_zero(pooled):
    outputs = pyramid(6, (4, 4))
    total, _ = DeepSupervision(CE, pooled=pooled)(outputs, targets_of(np.zeros((2, 4, 4)), PARTITION))
    total.backward()
    assert float(total.detach()) == 0.0


def test_centres_of_sizes_that_do_not_divide():
    assert at_centres(torch.arange(7), [3]).tolist() == [1, 3, 5]
    assert at_centres(torch.arange(8), [4]).tolist() == [1, 3, 5, 7]
    assert at_centres(torch.arange(5), [5]).tolist() == [0, 1, 2, 3, 4]
