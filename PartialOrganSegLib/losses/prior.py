"""Prior-aware loss (PaNN, Zhou 2019): predictions should have the fully labelled set's distribution of classes.

`q` is the label distribution of the fully labelled set, `pbar` the mean softmax of the images that are not labelled in
full, over all voxels inside them: what is known belongs to the distribution too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..errors import Code, UserError
from ..loading.targets import Targets
from .registry import LOSSES
from .supervision import Supervision

LOG_MOMENTUM = 0.98  # of the mean that is logged: of about the last 50 batches
SMALLEST_SHARE = 1e-30  # keeps logarithm and slope finite in float32


def prior_distribution(candidate_maps: Iterable[npt.NDArray[np.uint8]],
                       candidate_sets: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """q (C,) float64: the share of each class among the voxels of `candidate_maps` whose class is certain.

    The maps are those of the fully labelled cases, `candidate_sets` (K, C) bool. Raises UserError when no class is.
    """
    counts = np.zeros(len(candidate_sets))
    for candidate_map in candidate_maps:
        counts += np.bincount(candidate_map.ravel(), minlength=len(candidate_sets))
    # What a voxel is must be certain: of a coarse label's voxels nobody knows how to share them out.
    certain = candidate_sets.sum(1) == 1
    classes: npt.NDArray[np.float64] = counts[certain] @ candidate_sets[certain]
    if not classes.sum():
        raise UserError(code=Code.NO_CASES, subject="losses",
                        found="the prior needs fully labelled cases, found no voxel of one certain class")
    shares: npt.NDArray[np.float64] = classes / classes.sum()
    return shares


class _Prior(nn.Module):
    """What both forms share: q, and the batch's mean probabilities.

    `q` (C,) is normalised to 1. Classes with q = 0 are left out, with a warning that names them by `names`.
    `figures` for the log: `kl` is KL(q, pbar) = sum_l q_l log(q_l / pbar_l) with pbar's running mean over batches, and
    `pbar_0`, ... the batch's own pbar. The term works when kl falls.
    """

    q: torch.Tensor
    # 1 - q, and which classes take part (C,) bool. Checkpoints have them under these names.
    rest: torch.Tensor
    kept: torch.Tensor
    logged: torch.Tensor
    logged_batches: torch.Tensor

    def __init__(self, q: Sequence[float], names: Sequence[str] | None = None) -> None:
        super().__init__()
        self.figures: dict[str, float] = {}
        values = torch.as_tensor(np.asarray(q), dtype=torch.float64)
        if values.ndim != 1 or not torch.isfinite(values).all() or (values < 0).any() or not values.sum() > 0:
            raise UserError(code=Code.VALUE_UNFIT, subject="loss_arguments: prior.q", expected="shares of the classes",
                            found=list(q))
        values = values / values.sum()
        missing = torch.nonzero(values == 0).flatten().tolist()
        if missing:
            if names is None:
                names = [f"class {label}" for label in range(len(values))]
            absent = ", ".join(names[label] for label in missing)
            warnings.warn(f"prior: left out, absent from the fully labelled cases: {absent}", stacklevel=3)
        self.register_buffer("q", values.float())
        self.register_buffer("rest", (1 - values).float())
        self.register_buffer("kept", values > 0)
        # Of the log alone, not of the state: after resuming the mean begins anew.
        self.register_buffer("logged", torch.zeros(len(values)), persistent=False)
        self.register_buffer("logged_batches", torch.zeros(()), persistent=False)

    def mean_probabilities(self, batch: Supervision) -> torch.Tensor | None:
        """pbar (C,), or None when every image is labelled in full. Raises UserError for another number of classes."""
        classes = batch.targets.candidate_sets.shape[1]
        if len(self.q) != classes:
            raise UserError(code=Code.VALUE_UNFIT, subject="loss_arguments: prior.q",
                            expected=f"{classes} shares, background included", found=len(self.q))
        voxels = batch.all_voxels
        # A full case's patch says nothing about the others, whatever padding it has; a patch alone may look full.
        if batch.targets.fully_labelled is None:
            partial = voxels.counts[:, batch.open].sum(1) > 0
        else:
            partial = ~batch.targets.fully_labelled
        count = voxels.counts[partial].sum()
        if not count:
            return None
        mean = voxels.probability_sums[partial].sum((0, 1)) / count
        if self.training and batch.targets.finest:
            self._log(mean.detach())
        return mean

    def _log(self, mean: torch.Tensor) -> None:
        """Takes the batch's pbar (C,) into the figures."""
        before = self.logged_batches / (self.logged_batches + 1)
        self.logged.lerp_(mean, 1 - before.clamp_max(LOG_MOMENTUM))
        self.logged_batches += 1
        q, running = self.q[self.kept], self.logged[self.kept].clamp_min(SMALLEST_SHARE)
        divergence = (q * (q / running).log()).sum()
        kl, *shares = torch.cat([divergence[None], mean]).tolist()
        self.figures = {"kl": kl}
        for label, share in enumerate(shares):
            self.figures[f"pbar_{label}"] = share


@LOSSES.register("prior", source="Zhou 2019 (2)")
class Prior(_Prior):
    """`-sum_l [q_l log pbar_l + (1 - q_l) log(1 - pbar_l)]` (equation 2), directly.

    The mean stands inside the logarithm, so gradients on mini-batches are biased: with `momentum` above 0, pbar is a
    running mean over batches (a plain mean at first), and the batch moves it with the full slope of equation 2 there.
    0 (default) uses the batch's own mean.
    """

    running: torch.Tensor
    batches: torch.Tensor

    def __init__(self, q: Sequence[float], names: Sequence[str] | None = None, momentum: float = 0.0) -> None:
        super().__init__(q, names)
        # The running mean is part of the state: resumed, it goes on where it was.
        if not 0 <= momentum < 1:
            raise UserError(code=Code.VALUE_OUT_OF_RANGE, subject="loss_arguments: prior.momentum",
                            expected="0 or more and less than 1", found=momentum)
        self.momentum = momentum
        self.register_buffer("running", torch.zeros_like(self.q))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Scalar float32. Exactly 0, with a graph, when every image is labelled in full."""
        batch = Supervision.of(logits, targets)
        mean = self.mean_probabilities(batch)
        if mean is None:
            return batch.zero
        if self.momentum:
            # Coarser outputs of the same batch are compared with its mean too, and are no further batches.
            if batch.targets.finest:
                # At first the plain mean of all batches, which a fixed momentum would leave at 0 for long.
                keep = min(self.momentum, float(self.batches / (self.batches + 1)))
                self.running.lerp_(mean.detach(), 1 - keep)
                self.batches += 1
            mean = self.running + (mean - mean.detach())
        logs = (self.q * mean.clamp_min(SMALLEST_SHARE).log()
                + self.rest * _without_each(mean).clamp_min(SMALLEST_SHARE).log())
        return -logs[self.kept].sum()


@LOSSES.register("prior_primal_dual", source="Zhou 2019 (9)")
class PriorPrimalDual(_Prior):
    """The stochastic primal-dual form (equation 9), whose gradients on mini-batches are not biased:

    `min_Theta max_{nu, mu} sum_l (q_l nu_l - (1 - q_l) mu_l) pbar_l + q_l log(-nu_l) + (1 - q_l)(mu_l + log(-mu_l))`

    plus the constant that makes it equal to equation 2 at the dual optimum `nu = -1 / pbar`, `mu = -1 / (1 - pbar)`.
    The trained parameters are log(-nu) and log(-mu), so that nu and mu stay negative; they *ascend* (`dual = True`
    tells the trainer). They start at `nu = -1 / q`, `mu = -1 / (1 - q)`: Algorithm 1 prints mu without its minus.
    """

    dual = True

    def __init__(self, q: Sequence[float], names: Sequence[str] | None = None) -> None:
        super().__init__(q, names)
        self.log_minus_nu = nn.Parameter(-self.q.clamp_min(SMALLEST_SHARE).log())
        self.log_minus_mu = nn.Parameter(-self.rest.clamp_min(SMALLEST_SHARE).log())

    @property
    def nu(self) -> torch.Tensor:
        """(C,) dual variables of pbar, negative."""
        return -self.log_minus_nu.exp()

    @property
    def mu(self) -> torch.Tensor:
        """(C,) dual variables of 1 - pbar, negative."""
        return -self.log_minus_mu.exp()

    def forward(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Scalar float32. Exactly 0, with a graph, when every image is labelled in full."""
        batch = Supervision.of(logits, targets)
        mean = self.mean_probabilities(batch)
        if mean is None:
            return batch.zero
        return self.objective(mean)

    def objective(self, mean: torch.Tensor) -> torch.Tensor:
        """Equation 9 with its constant, for mean probabilities (C,)."""
        terms = ((self.q * self.nu - self.rest * self.mu) * mean + self.q * self.log_minus_nu
                 + self.rest * (self.mu + self.log_minus_mu) + 1)
        return terms[self.kept].sum()


def _without_each(mean: torch.Tensor) -> torch.Tensor:
    """1 - pbar as the sum of the other classes: exact where pbar is all but 1."""
    return (1 - torch.eye(len(mean), device=mean.device)) @ mean
