"""Marginal cross entropy and Dice on candidate sets (Shi 2021, equations 4-6).

With singletons they are the ordinary losses, with scribbles partial cross entropy (Luo 2021), with a merged background
the target adaptive loss (Fang 2020, equation 8).
"""

from __future__ import annotations

import torch
from torch import nn

from .supervision import Supervision


class MarginalCrossEntropy(nn.Module):
    """`mean over labelled voxels of -log sum_{c in S} p_c` (Shi 2021, equation 5).

    Computed as `logsumexp(a) - logsumexp(a_S)` on logits, finite up to +-1e4. A voxel that may be anything adds
    nothing to the sum nor to the mean. Exactly 0, with a graph, when no voxel is labelled.
    `balanced`: the mean over the voxels that the batch uses, each counted once, so that a candidate set counts for at
    most `voxels_per_set` voxels and the background does not outweigh the organs.
    """

    def __init__(self, balanced: bool = False) -> None:
        super().__init__()
        self.balanced = balanced

    def forward(self, batch: Supervision) -> torch.Tensor:
        """Scalar float32, at least 0."""
        voxels = batch.labelled
        if not len(voxels):
            return batch.zero
        inside = voxels.log_probabilities.masked_fill(~voxels.allowed, float("-inf"))
        values = -torch.logsumexp(inside, dim=1)
        return values.mean() if self.balanced else (values * voxels.weights).sum() / voxels.weights.sum()


class MarginalDice(nn.Module):
    """`mean over merged classes m of 1 - 2 sum z_m q_m / (sum z_m + sum q_m)` (Shi 2021, equation 6, over voxels).

    The merged classes are the candidate sets that occur in the batch; `q_m` is the sum of their classes' probabilities.
    A voxel counts for merged class m where its annotation decides the question: its candidate set lies inside m
    (z = 1) or outside m (z = 0). For partial labels that partition the label space this is the paper's formula, for
    full labels the ordinary soft Dice, for scribbles the partial Dice over drawn voxels.
    `per_image`: mean of each image's Dice instead of one Dice over the batch.
    `summed`: the sum over the merged classes, as the paper prints it, instead of their mean (with `per_image`: of the
    mean over images).
    """

    def __init__(self, per_image: bool = False, summed: bool = False) -> None:
        super().__init__()
        self.per_image, self.summed = per_image, summed

    def forward(self, batch: Supervision) -> torch.Tensor:
        """Scalar float32 in 0..1, times the number of merged classes where `summed`."""
        voxels = batch.labelled
        if not len(voxels):
            return batch.zero
        # Everything the formula sums over voxels, it sums over voxels of one code.
        mass, counts = voxels.mass, voxels.counts
        if not self.per_image:
            mass, counts = mass.sum(0, keepdim=True), counts.sum(0, keepdim=True)
        member = batch.table.float()
        merged = mass @ member.T  # (images, code, m): sum of q_m over the voxels of each code
        size = member.sum(1)
        shared = member @ member.T
        inside = (shared == size[:, None]) & batch.informative[:, None]  # [code, m]: the code's set lies in m
        decided = inside | (shared == 0)
        intersection = (merged * inside).sum(1)
        predicted = (merged * decided).sum(1)
        target = (counts[:, :, None] * inside).sum(1)
        present = (counts > 0) & batch.informative
        losses = (1 - 2 * intersection / (target + predicted).clamp_min(1e-6))[present]
        if not self.summed:
            return losses.mean()
        return losses.sum() / (counts > 0).any(1).sum()
