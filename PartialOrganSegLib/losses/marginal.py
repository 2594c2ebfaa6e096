"""Marginal cross entropy and Dice on candidate sets (Shi 2021, equations 4-6).

With singletons they are the ordinary losses, with scribbles partial cross entropy (Luo 2021), with a merged background
the target adaptive loss (Fang 2020, equation 8).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..errors import Code, UserError
from ..loading.targets import Targets
from .registry import LOSSES
from .supervision import Supervision


@LOSSES.register("marginal_cross_entropy", source="Shi 2021 (5); on scribbles pCE of Luo 2021")
class MarginalCrossEntropy(nn.Module):
    """`mean over labelled voxels of -log sum_{c in S} p_c` (Shi 2021, equation 5).

    Computed as `logsumexp(a) - logsumexp(a_S)` on logits, finite up to +-1e4. A voxel that may be anything adds
    nothing to the sum nor to the mean. Exactly 0, with a graph, when no voxel is labelled.
    `balanced`: the mean over the voxels that the batch uses, each counted once, so that a candidate set counts for at
    most `voxels_per_set` voxels and the background does not outweigh the organs.
    `draw_rates` (C,), each above 0: for sparsely labelled images (`Supervision.sparsely_labelled`), the chance r_c
    that a voxel of class c is drawn, in any unit. The network's own probabilities are those of any voxel; among drawn
    voxels they are `p_c r_c / sum_k p_k r_k` (Bayes; prior correction of King and Zeng 2001, logit adjustment of Menon
    2021), of which the loss is taken there. Without it organs, of which a larger share is drawn than of the background,
    come out too large.
    """

    log_rates: torch.Tensor

    def __init__(self, balanced: bool = False, draw_rates: Sequence[float] = ()) -> None:
        super().__init__()
        if not all(rate > 0 for rate in draw_rates):
            raise UserError(code=Code.VALUE_OUT_OF_RANGE, subject="loss_arguments: marginal_cross_entropy.draw_rates",
                            expected="more than 0 for every class", found=list(draw_rates))
        self.balanced = balanced
        # Not part of the state: they come with the recipe, and checkpoints from before they existed load.
        self.register_buffer("log_rates", torch.tensor(list(draw_rates)).log(), persistent=False)

    def forward(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Scalar float32, at least 0."""
        batch = Supervision.of(logits, targets)
        voxels = batch.labelled
        if not len(voxels):
            return batch.zero
        log_probabilities = voxels.log_probabilities
        if len(self.log_rates):
            classes = log_probabilities.shape[1]
            if len(self.log_rates) != classes:
                raise UserError(code=Code.VALUE_UNFIT, subject="loss_arguments: marginal_cross_entropy.draw_rates",
                                expected=f"{classes}, one for each class", found=len(self.log_rates))
            among_drawn = torch.log_softmax(log_probabilities + self.log_rates, dim=1)
            drawn = batch.sparsely_labelled[voxels.images][:, None]
            log_probabilities = torch.where(drawn, among_drawn, log_probabilities)
        # Classes outside the set take no part in its sum.
        inside = log_probabilities.masked_fill(~voxels.allowed, float("-inf"))
        values = -torch.logsumexp(inside, dim=1)
        if self.balanced:
            return values.mean()
        return (values * voxels.weights).sum() / voxels.weights.sum()


@LOSSES.register("marginal_dice", source="Shi 2021 (6)")
class MarginalDice(nn.Module):
    """`mean over merged classes m of 1 - 2 sum z_m q_m / (sum z_m + sum q_m)` (Shi 2021, equation 6, over voxels).

    The merged classes are the candidate sets that occur in the batch; `q_m` is the sum of their classes' probabilities.
    A voxel counts for merged class m where its annotation decides the question: its candidate set lies inside m
    (z = 1) or outside m (z = 0). For partial labels that partition the label space this is the paper's formula, for
    full labels the ordinary soft Dice, for scribbles the partial Dice over drawn voxels.
    `per_image`: mean of each image's Dice instead of one Dice over the batch.
    `summed`: the sum over the merged classes, as the paper prints it, instead of their mean (with `per_image`: of the
    mean over images).
    `masks_only`: without sparsely labelled images (`Supervision.sparsely_labelled`). Strokes say nothing of an organ's
    size.
    """

    def __init__(self, per_image: bool = False, summed: bool = False, masks_only: bool = False) -> None:
        super().__init__()
        self.per_image, self.summed, self.masks_only = per_image, summed, masks_only

    def forward(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Scalar float32 in 0..1, times the number of merged classes where `summed`."""
        batch = Supervision.of(logits, targets)
        voxels = batch.labelled
        if not len(voxels):
            return batch.zero
        # Everything the formula sums over voxels, it sums over voxels of one code.
        probability_sums, counts = voxels.probability_sums, voxels.counts
        if self.masks_only:
            if batch.sparsely_labelled.all():
                return batch.zero
            masks = ~batch.sparsely_labelled
            probability_sums, counts = probability_sums[masks], counts[masks]
        if not self.per_image:
            probability_sums, counts = probability_sums.sum(0, keepdim=True), counts.sum(0, keepdim=True)
        member = targets.candidate_sets.float()
        merged = probability_sums @ member.T  # (images, code, m): sum of q_m over the voxels of each code
        size = member.sum(1)
        # Of two sets: how many classes they share. All of the code's: it lies in m. None: it lies outside.
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
