"""Exclusion losses (Shi 2021, equations 9-11): where one organ is labelled, no other may be predicted.

`e_n` is the union of the masks of the labelled organs that class n must not overlap. Read off the candidate sets: a
voxel belongs to it where its set holds neither n nor the background. So an unlabelled organ is kept out of all
labelled ones, a labelled organ out of the others, whatever was annotated in each case of a batch, and coarse labels
and strokes count too. n runs over the organs; the background is held by the marginal losses.
"""

from __future__ import annotations

import torch
from torch import nn

from ..loading.targets import Targets
from .registry import LOSSES
from .supervision import Supervision


def excluded(table: torch.Tensor) -> torch.Tensor:
    """(K, C) float32: whether a voxel of each code belongs to e_n, for every class n (0 for the background)."""
    outside = ~table & ~table[:, :1]
    outside[:, 0] = False
    return outside.float()


@LOSSES.register("exclusion_dice", source="Shi 2021 (10)")
class ExclusionDice(nn.Module):
    """`sum_n 2 sum e_n p_n / (sum e_n + sum p_n)` (equation 10), the inner sums over the batch's labelled voxels.

    `average`: the mean over the classes with a non-empty e_n, to go with the mean that `MarginalDice` takes.
    """

    def __init__(self, average: bool = False) -> None:
        super().__init__()
        self.average = average

    def forward(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Scalar float32, at least 0. Exactly 0, with a graph, when no voxel is labelled as an organ."""
        batch = Supervision.of(logits, targets)
        voxels = batch.labelled
        if not len(voxels):
            return batch.zero
        mask = excluded(targets.candidate_sets)
        # e_n and the candidate set go together, so sums over voxels are sums over codes.
        probability_sums = voxels.probability_sums.sum(0)
        forbidden = voxels.counts.sum(0) @ mask  # sum e_n
        present = forbidden > 0
        if not present.any():
            return batch.zero
        overlap = 2 * (probability_sums * mask).sum(0)[present] / (forbidden + probability_sums.sum(0))[present]
        if self.average:
            return overlap.mean()
        return overlap.sum()


@LOSSES.register("exclusion_cross_entropy", source="Shi 2021 (11), eps = 1")
class ExclusionCrossEntropy(nn.Module):
    """`mean over labelled voxels of sum_n e_n log(p_n + eps)` (equation 11), `eps = 1` as in the paper, so it is >= 0.

    `average`: the mean over the organs instead of the sum.
    """

    def __init__(self, epsilon: float = 1.0, average: bool = False) -> None:
        super().__init__()
        self.epsilon, self.average = epsilon, average

    def forward(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Scalar float32. Exactly 0, with a graph, when no voxel is labelled as an organ."""
        batch = Supervision.of(logits, targets)
        voxels = batch.labelled
        mask = excluded(targets.candidate_sets)
        # At all other voxels every e_n is 0, and those are the most.
        organ = torch.nonzero(mask.any(1)[voxels.codes]).squeeze(1)
        if not len(organ):
            return batch.zero
        logs = torch.log(voxels.probabilities[organ] + self.epsilon)
        values = (logs * mask[voxels.codes[organ]]).sum(1) * voxels.weights[organ]
        mean = values.sum() / voxels.weights.sum()
        if self.average:
            mean = mean / (targets.candidate_sets.shape[1] - 1)
        return mean
