"""What every registered loss must survive, and what public versions of these losses get wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from PartialOrganSegLib.losses import LOSSES, WeightedLosses
from Testing.helpers.loss_batches import (
    OVERLAPPING,
    PARTITION,
    SINGLETONS,
    SOFT_SETS,
    LossBatch,
    random_case,
    random_image,
    random_soft,
    table_of,
)
from Testing.helpers.loss_batches import batch as hard_batch

ARGUMENTS = {"prior": {"q": [0.7, 0.1, 0.1, 0.05, 0.05]}, "prior_primal_dual": {"q": [0.7, 0.1, 0.1, 0.05, 0.05]},
             "crf": {"radius": 1}}
NEEDS_LABELS = ["marginal_cross_entropy", "marginal_dice", "target_adaptive", "exclusion_dice",
                "exclusion_cross_entropy"]
# These speak of voxels that are not decided; with a full label they have nothing to say.
NEEDS_UNKNOWN = ["prior", "prior_primal_dual", "entropy", "distillation"]


def batch(logits: np.ndarray, codes: np.ndarray, *arguments, **options) -> LossBatch:
    """A batch with soft targets too."""
    return hard_batch(logits, codes, *arguments, soft=random_soft(0, codes), sets=SOFT_SETS, **options)


def build(name: str) -> torch.nn.Module:
    return LOSSES[name](**ARGUMENTS.get(name, {}))


def check(name: str, logits: np.ndarray, codes: np.ndarray, table: np.ndarray, dtype=torch.float32,
          voxels_per_set: int = 0) -> float:
    """The loss's value; it and all slopes are finite float32, and there is a graph."""
    supervision = batch(logits, codes, table, dtype, grad=True, voxels_per_set=voxels_per_set,
                        image=random_image(0, codes), teacher=np.roll(logits, 1, axis=1))
    value = build(name)(*supervision)
    value.backward()
    assert value.dtype == torch.float32
    assert value.ndim == 0
    assert torch.isfinite(value)
    assert supervision.logits.grad is not None
    assert torch.isfinite(supervision.logits.grad).all()
    return float(value.detach())


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_logits_up_to_ten_thousand(name, dtype):
    generator = np.random.default_rng(0)
    for table in (PARTITION, OVERLAPPING, SINGLETONS):
        for shape in ((2, 4, 4), (2, 2, 3, 3)):
            logits, codes = random_case(0, table, shape)
            # Half precision ends at 65504: differences of such logits overflow unless they are taken in float32.
            check(name, 1e4 * generator.choice([-1.0, 0.0, 1.0], logits.shape), codes, table, dtype)
            check(name, np.full(logits.shape, -1e4), codes, table, dtype)
            check(name, 1e4 * np.sign(logits), codes, table, dtype, voxels_per_set=3)


@pytest.mark.parametrize("name", LOSSES)
def test_one_voxel_and_absent_classes(name):
    for code in range(len(OVERLAPPING)):
        for shape in ((1, 1, 1), (1, 1, 1, 1), (3, 1, 1, 1)):
            codes = np.full(shape, code)
            logits = np.broadcast_to(np.arange(5.0).reshape(1, 5, *[1] * (len(shape) - 1)), (shape[0], 5, *shape[1:]))
            for limit in (0, 1):
                check(name, logits.copy(), codes, OVERLAPPING, voxels_per_set=limit)


@pytest.mark.parametrize("name", LOSSES)
def test_constant_predictions(name):
    for table in (PARTITION, SINGLETONS):
        _, codes = random_case(0, table)
        check(name, np.zeros((2, 5, 3, 4, 5)), codes, table)


@pytest.mark.parametrize("limit", [0, 30])
@pytest.mark.parametrize("name", LOSSES)
def test_nothing_labelled(name, limit):
    """A patch without a stroke: exactly 0 for what learns from labels; the others have everything to say."""
    logits, codes = random_case(1, PARTITION)
    value = check(name, logits, np.zeros_like(codes), PARTITION, voxels_per_set=limit)
    assert (value == 0.0) == (name in NEEDS_LABELS)


@pytest.mark.parametrize("name", NEEDS_UNKNOWN)
def test_everything_known(name):
    logits, codes = random_case(2, SINGLETONS)
    assert check(name, logits, codes.clip(1), SINGLETONS) == 0.0


@pytest.mark.parametrize("name", LOSSES)
def test_low_precision_is_rounding_of_the_logits_only(name):
    logits, codes = random_case(3, OVERLAPPING)
    rounded = torch.from_numpy(logits).bfloat16().float().numpy()
    image = torch.from_numpy(random_image(3, codes)).bfloat16().float().numpy()
    teacher = rounded[:, ::-1].copy()
    values = [float(build(name)(*batch(rounded, codes, OVERLAPPING, dtype, image=image, teacher=teacher)).detach())
              for dtype in (torch.float32, torch.bfloat16)]
    assert values[0] == pytest.approx(values[1], rel=1e-4)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "crf"])
def test_a_part_of_the_voxels_stands_for_all(name):
    logits, codes = random_case(4, PARTITION, (2, 8, 10, 10), 1.0)
    image, teacher = random_image(4, codes), random_case(5, PARTITION, (2, 8, 10, 10), 1.0)[0]
    loss = build(name)
    torch.manual_seed(0)
    of_all_voxels = float(loss(*batch(logits, codes, PARTITION, image=image, teacher=teacher)).detach())
    draws = [float(loss(*batch(logits, codes, PARTITION, voxels_per_set=150, image=image, teacher=teacher)).detach())
             for _ in range(60)]
    assert np.mean(draws) == pytest.approx(of_all_voxels, rel=0.02)


@pytest.mark.parametrize("name", LOSSES)
def test_two_and_three_dimensions_agree(name):
    """A single slice is the same batch in 2D and in 3D."""
    logits, codes = random_case(6, PARTITION, (2, 5, 6))
    image = random_image(6, codes)
    flat = float(build(name)(*batch(logits, codes, PARTITION, image=image, teacher=logits[:, ::-1].copy())).detach())
    deep = float(build(name)(*batch(logits[:, :, None], codes[:, None], PARTITION, image=image[:, :, None],
                                   teacher=logits[:, ::-1, None].copy())).detach())
    assert deep == pytest.approx(flat, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_slopes_are_those_of_finite_differences(name):
    logits, codes = random_case(7, PARTITION, (2, 3, 4), 1.0)
    image, teacher = random_image(7, codes), random_case(8, PARTITION, (2, 3, 4), 1.0)[0]
    # One random direction instead of every coordinate: a wrong slope shows in nearly all of them.
    direction = np.random.default_rng(7).normal(0, 1, logits.shape).astype(np.float32)
    supervision = batch(logits, codes, PARTITION, grad=True, image=image, teacher=teacher)
    loss = build(name)
    loss(*supervision).backward()
    step = 1e-2
    ahead, behind = (float(loss(*batch(logits + sign * step * direction, codes, PARTITION, image=image,
                                      teacher=teacher)).detach()) for sign in (1, -1))
    slope = float((supervision.logits.grad * torch.from_numpy(direction)).sum())
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=0.02, abs=2e-4)


def test_all_losses_in_one_run():
    logits, codes = random_case(9, OVERLAPPING)
    losses = WeightedLosses(dict.fromkeys(LOSSES, 1.0), ARGUMENTS)
    supervision = batch(logits, codes, OVERLAPPING, grad=True, image=random_image(9, codes), teacher=logits)
    total, values = losses(*supervision)
    total.backward()
    # The log also has figures that some losses have of themselves.
    assert float(total.detach()) == pytest.approx(sum(values[name] for name in LOSSES), rel=1e-5)
    assert set(values) >= set(LOSSES)


def test_marginals_sum_probabilities_not_logits():
    """16 organs, one labelled, uniform logits: the background's probability is 16/17; summed logits would give 1/2."""
    table = table_of(17, set(range(17)) - {1}, {1})
    codes = np.array([1, 1, 1, 2], np.uint8).reshape(1, 2, 2)
    zeros = np.zeros((1, 17, 2, 2))
    background = float(build("marginal_cross_entropy")(*hard_batch(zeros, np.ones((1, 2, 2)), table)))
    assert np.exp(-background) == pytest.approx(16 / 17, rel=1e-5)
    # 2 |overlap| / (|p| + |z|) for the merged class and for the organ, by hand.
    dice = (2 * 3 * 16 / (3 * 17 + 4 * 16) + 2 / (17 + 4)) / 2
    assert float(build("marginal_dice")(*hard_batch(zeros, codes, table))) == pytest.approx(1 - dice, rel=1e-5)


def test_voxels_without_a_stroke_are_no_background():
    """An ignore value that is never used would make the prediction off the strokes matter."""
    logits, codes = random_case(10, SINGLETONS)
    changed = np.where((codes == 0)[:, None], -logits, logits)
    for name in NEEDS_LABELS:
        expected = check(name, logits, codes, SINGLETONS)
        assert check(name, changed, codes, SINGLETONS) == pytest.approx(expected, rel=1e-5)
