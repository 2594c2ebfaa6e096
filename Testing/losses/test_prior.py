"""The prior-aware loss in both forms against Zhou 2019, equations 2 and 9, and autograd."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.losses import DeepSupervision, Prior, PriorPrimalDual, WeightedLosses, prior_distribution
from Testing.helpers.loss_batches import OVERLAPPING, PARTITION, SINGLETONS, all_rows, batch, random_case, softmax

Q = (0.7, 0.1, 0.1, 0.05, 0.05)


def equation_2(q, mean) -> float:
    q, mean = np.asarray(q, np.float64), np.asarray(mean, np.float64)
    return float(-(q * np.log(mean) + (1 - q) * np.log(1 - mean)).sum())


def equation_9(q, mean, nu, mu) -> float:
    """As printed, without constants."""
    q, mean, nu, mu = (np.asarray(values, np.float64) for values in (q, mean, nu, mu))
    return float(((q * nu - (1 - q) * mu) * mean).sum() + (q * np.log(-nu)).sum()
                 + ((1 - q) * (mu + np.log(-mu))).sum())


def mean_softmax(logits, codes, table) -> np.ndarray:
    """Over all voxels of the images that leave some voxel open."""
    p, sets, images = all_rows(logits, codes, table)
    partial = [image for image in np.unique(images) if (sets[images == image].sum(1) > 1).any()]
    return p[np.isin(images, partial)].mean(0)


@pytest.mark.parametrize("table", [PARTITION, OVERLAPPING])
def test_direct_form_is_equation_2(table):
    logits, codes = random_case(0, table)
    expected = equation_2(Q, mean_softmax(logits, codes, table))
    assert float(Prior(Q)(*batch(logits, codes, table))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("table", [PARTITION, OVERLAPPING])
def test_primal_dual_form_is_equation_9_and_its_constant(table):
    logits, codes = random_case(1, table)
    loss = PriorPrimalDual(Q)
    with torch.no_grad():
        # Away from the start, where some terms of equation 9 cancel.
        loss.log_minus_nu.add_(torch.linspace(-1, 1, 5))
        loss.log_minus_mu.add_(torch.linspace(0.5, -0.5, 5))
    # The paper leaves out a constant of 1 a class; with it the maximum over the duals is equation 2.
    expected = equation_9(Q, mean_softmax(logits, codes, table), loss.nu.detach(), loss.mu.detach()) + len(Q)
    assert float(loss(*batch(logits, codes, table)).detach()) == pytest.approx(expected, rel=1e-5)


def test_dual_variables_start_where_the_text_says_and_are_negative():
    loss = PriorPrimalDual(Q)
    np.testing.assert_allclose(loss.nu.detach(), -1 / np.array(Q), rtol=1e-5)
    np.testing.assert_allclose(loss.mu.detach(), -1 / (1 - np.array(Q)), rtol=1e-5)
    # Steps far larger than in training: the duals are stored as logarithms and cannot change their sign.
    optimiser = torch.optim.SGD(loss.parameters(), lr=2.0, maximize=True)
    for _ in range(20):
        optimiser.zero_grad()
        loss.objective(torch.tensor([0.96, 0.01, 0.01, 0.01, 0.01])).backward()
        optimiser.step()
        assert (loss.nu < 0).all()
        assert (loss.mu < 0).all()


def test_at_the_dual_optimum_value_and_slope_are_those_of_equation_2():
    mean = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05], dtype=torch.float64, requires_grad=True)
    q = torch.tensor(Q, dtype=torch.float64)
    direct = -(q * mean.log() + (1 - q) * (1 - mean).log()).sum()
    (slope,) = torch.autograd.grad(direct, mean)
    loss = PriorPrimalDual(Q).double()
    with torch.no_grad():
        # nu = -1 / pbar and mu = -1 / (1 - pbar), where the slope in both vanishes.
        loss.log_minus_nu.copy_(-mean.log())
        loss.log_minus_mu.copy_(-(1 - mean).log())
    value = loss.objective(mean)
    gradients = torch.autograd.grad(value, [mean, loss.log_minus_nu, loss.log_minus_mu])
    assert float(value.detach()) == pytest.approx(float(direct.detach()), rel=1e-6)
    torch.testing.assert_close(gradients[0], slope, rtol=1e-5, atol=1e-6)
    for dual_slope in gradients[1:]:
        torch.testing.assert_close(dual_slope, torch.zeros_like(dual_slope), rtol=0, atol=1e-6)


def test_dual_ascent_finds_the_optimum():
    mean = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05])
    loss = PriorPrimalDual(Q)
    optimiser = torch.optim.SGD(loss.parameters(), lr=1.0, maximize=True)
    values = []
    for _ in range(300):
        optimiser.zero_grad()
        value = loss.objective(mean)
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    assert values == sorted(values) or np.diff(values).min() > -1e-5
    assert values[-1] == pytest.approx(equation_2(Q, mean), abs=1e-4)
    np.testing.assert_allclose(loss.nu.detach(), -1 / mean, rtol=1e-2)
    np.testing.assert_allclose(loss.mu.detach(), -1 / (1 - mean), rtol=1e-2)


def test_slope_on_logits_is_autograd_of_equation_2():
    logits, codes = random_case(2, PARTITION)
    supervision = batch(logits, codes, PARTITION, grad=True)
    Prior(Q)(*supervision).backward()
    raw = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    mean, q = torch.softmax(raw, 1).mean((0, 2, 3, 4)), torch.tensor(Q, dtype=torch.float64)
    (-(q * mean.log() + (1 - q) * (1 - mean).log()).sum()).backward()
    np.testing.assert_allclose(supervision.logits.grad, raw.grad, atol=1e-7)


def test_only_images_that_are_not_labelled_in_full_count():
    logits, codes = random_case(3, SINGLETONS)
    # The first image is labelled in full, the second not at all.
    codes[0] = codes[0].clip(1)
    codes[1] = 0
    alone = float(Prior(Q)(*batch(logits[1:], codes[1:], SINGLETONS)))
    assert float(Prior(Q)(*batch(logits, codes, SINGLETONS))) == pytest.approx(alone, rel=1e-5)
    full = batch(logits[:1], codes[:1], SINGLETONS, grad=True)
    value = Prior(Q)(*full)
    value.backward()
    assert float(value.detach()) == 0.0


def test_running_mean():
    loss = Prior(Q, momentum=0.5)
    first, second, third = (random_case(seed, PARTITION) for seed in (4, 5, 6))
    means = [mean_softmax(*case, PARTITION) for case in (first, second, third)]
    assert float(loss(*batch(*first, PARTITION))) == pytest.approx(equation_2(Q, means[0]), rel=1e-5)
    running = (means[0] + means[1]) / 2
    assert float(loss(*batch(*second, PARTITION))) == pytest.approx(equation_2(Q, running), rel=1e-5)
    running = running / 2 + means[2] / 2
    supervision = batch(*third, PARTITION, grad=True)
    value = loss(*supervision)
    assert float(value.detach()) == pytest.approx(equation_2(Q, running), rel=1e-5)
    value.backward()
    raw = torch.tensor(third[0], dtype=torch.float64, requires_grad=True)
    # The slope at the running mean goes through the batch's own mean in full, not through its share of the running one.
    at, q = torch.tensor(running), torch.tensor(Q, dtype=torch.float64)
    slope = -(q / at - (1 - q) / (1 - at))
    (slope * torch.softmax(raw, 1).mean((0, 2, 3, 4))).sum().backward()
    np.testing.assert_allclose(supervision.logits.grad, raw.grad, atol=1e-7)


def coarser_outputs(logits) -> list[torch.Tensor]:
    """The logits, and the same at half and a quarter of their size, with other values."""
    fine = torch.as_tensor(logits, dtype=torch.float32)
    return [fine, *(torch.nn.functional.avg_pool3d(fine, 2 ** level) - fine.mean() for level in (1, 2))]


@pytest.mark.parametrize("weights", [None, [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
def test_the_running_mean_goes_on_once_a_batch_whatever_the_outputs(weights):
    one, several = (WeightedLosses({"prior": 1.0}, {"prior": {"q": Q, "momentum": 0.5}}) for _ in range(2))
    for seed in range(3):
        logits, codes = random_case(seed, PARTITION, (1, 4, 8, 8))
        case = batch(logits, codes, PARTITION)
        _, expected = one(case.logits, case.targets)
        _, figures = DeepSupervision(several, weights)(coarser_outputs(logits), case.targets)
        assert figures == expected
    assert several.state_dict().keys() == one.state_dict().keys()
    for name, value in one.state_dict().items():
        torch.testing.assert_close(several.state_dict()[name], value, rtol=0, atol=0)


def test_coarser_outputs_are_taken_at_the_running_mean():
    losses = WeightedLosses({"prior": 1.0}, {"prior": {"q": Q, "momentum": 0.5}})
    logits, codes = random_case(4, PARTITION, (1, 4, 8, 8))
    case = batch(logits, codes, PARTITION)
    total, _ = DeepSupervision(losses, [1.0, 1.0, 1.0])(coarser_outputs(logits), case.targets)
    assert float(total) == pytest.approx(equation_2(Q, mean_softmax(logits, codes, PARTITION)), rel=1e-5)


def test_running_mean_is_part_of_the_state():
    loss = Prior(Q, momentum=0.9)
    loss(*batch(*random_case(7, PARTITION), PARTITION))
    restored = Prior(Q, momentum=0.9)
    restored.load_state_dict(loss.state_dict())
    case = random_case(8, PARTITION)
    assert float(restored(*batch(*case, PARTITION))) == float(loss(*batch(*case, PARTITION)))


@pytest.mark.parametrize("form", [Prior, PriorPrimalDual])
def test_a_class_the_full_cases_lack_is_left_out_by_name(form):
    with pytest.warns(UserWarning, match=r"left out.*: spleen$"):
        loss = form([0.7, 0.2, 0.0, 0.05, 0.05], names=["background", "liver", "spleen", "colon", "bladder"])
    logits, codes = random_case(9, PARTITION)
    mean, q = mean_softmax(logits, codes, PARTITION), np.array([0.7, 0.2, 0.05, 0.05])
    remaining = mean[[0, 1, 3, 4]]
    expected = equation_2(q, remaining) if form is Prior else equation_9(q, remaining, -1 / q, -1 / (1 - q)) + 4
    assert float(loss(*batch(logits, codes, PARTITION)).detach()) == pytest.approx(expected, rel=1e-5)


def test_no_warning_when_every_class_occurs():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Prior(Q)


@pytest.mark.parametrize("form", [Prior, PriorPrimalDual])
def test_collapsed_predictions_stay_finite(form):
    for winner in range(5):
        logits = np.full((1, 5, 2, 2, 2), -1e4)
        logits[:, winner] = 1e4
        supervision = batch(logits, np.zeros((1, 2, 2, 2)), PARTITION, grad=True)
        value = form(Q)(*supervision)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(supervision.logits.grad).all()


def test_distribution_of_the_full_cases():
    codes = [np.array([[1, 1, 2], [5, 0, 1]], np.uint8), np.array([[[3]]], np.uint8)]
    # Code 6 is a merged class, which says nothing of the shares of its two.
    table = np.vstack([SINGLETONS, [[True, True, False, False, False]]])
    np.testing.assert_allclose(prior_distribution(codes, table), np.array([3, 1, 1, 0, 1]) / 6)
    np.testing.assert_allclose(prior_distribution([np.array([6, 1], np.uint8)], table), [1, 0, 0, 0, 0])
    with pytest.raises(UserError, match="fully labelled"):
        prior_distribution([np.array([0, 6], np.uint8)], table)


@pytest.mark.parametrize("q", [[0.5, -0.1, 0.6], [0.0, 0.0], [np.nan, 1.0], [[0.5, 0.5]]])
def test_shares_that_are_none_are_refused(q):
    with pytest.raises(UserError, match=r"prior\.q"):
        Prior(q)


def test_a_wrong_number_of_shares_is_refused():
    with pytest.raises(UserError, match="5 shares"):
        Prior([0.5, 0.5])(*batch(*random_case(0, PARTITION), PARTITION))


def test_missing_distribution_and_momentum_are_named():
    with pytest.raises(UserError, match=r"loss_arguments: prior: .*'q'"):
        WeightedLosses({"prior": 0.1})
    with pytest.raises(UserError, match=r"momentum.*1\.5"):
        Prior(Q, momentum=1.5)


def test_dual_parameters_are_found_among_the_terms():
    losses = WeightedLosses({"marginal_dice": 1.0, "prior_primal_dual": 0.1}, {"prior_primal_dual": {"q": Q}})
    assert [len(parameter) for parameter in losses.dual_parameters()] == [5, 5]
    assert WeightedLosses({"prior": 0.1}, {"prior": {"q": Q}}).dual_parameters() == []


@pytest.mark.parametrize("form", [Prior, PriorPrimalDual])
def test_the_log_has_the_divergence_from_the_running_mean(form):
    """KL(q, pbar) in numpy over three batches, and the batch's own pbar."""
    q = np.array([0.6, 0.1, 0.1, 0.1, 0.1])
    losses = WeightedLosses({"prior": 0.5}, {"prior": {"q": q.tolist()}})
    if form is PriorPrimalDual:
        losses = WeightedLosses({"prior_primal_dual": 0.5}, {"prior_primal_dual": {"q": q.tolist()}})
    (name,) = losses.weights
    means = []
    for seed in range(3):
        logits, codes = random_case(seed, PARTITION)
        case = batch(logits, codes, PARTITION, fully_labelled=[False, True])
        _, figures = losses(case.logits, case.targets)
        means.append(softmax(logits[:1]).mean((0, 2, 3, 4)))
        pbar = np.mean(means, axis=0)
        assert figures[f"{name}_kl"] == pytest.approx((q * np.log(q / pbar)).sum(), rel=1e-4)
        assert [figures[f"{name}_pbar_{c}"] for c in range(5)] == pytest.approx(means[-1], rel=1e-4)
    # Sums for the log would make checkpoints of a run differ by when it was last logged.
    assert all(not key.endswith(("logged", "logged_batches")) for key in losses.state_dict())
