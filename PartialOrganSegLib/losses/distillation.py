"""Distillation from a frozen start model, for what a case leaves unknown: against forgetting during fine-tuning."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import UserError
from .supervision import Supervision


class Distillation(nn.Module):
    """`T^2 mean over unknown voxels of KL(t || p)` with soft targets t of the batch's teacher (Hinton 2015).

    Unknown is where the candidate set leaves a choice. The annotation outranks the teacher: t is the teacher's
    probability restricted to the voxel's candidate set and renormalised. Both sides are softened by the temperature T.
    `cross_entropy`: `-sum t log p` instead; it has the same gradient, and does not reach 0 for an undecided teacher.
    """

    def __init__(self, temperature: float = 1.0, cross_entropy: bool = False) -> None:
        super().__init__()
        if not temperature > 0:
            raise UserError(f"loss_arguments: distillation.temperature: expected more than 0, found {temperature}")
        self.temperature, self.cross_entropy = temperature, cross_entropy

    def forward(self, batch: Supervision) -> torch.Tensor:
        """Scalar float32, at least 0. Exactly 0, with a graph, when every voxel is known. Raises UserError for a batch
        without teacher."""
        voxels = batch.every
        teacher = voxels.teacher_rows / self.temperature
        weights = voxels.weights * batch.open[voxels.codes]
        total = weights.sum()
        if not total:
            return batch.zero
        target = torch.softmax(teacher.masked_fill(~voxels.allowed, float("-inf")), dim=1)
        student = (voxels.log_probabilities if self.temperature == 1
                   else torch.log_softmax(voxels.rows / self.temperature, dim=1))
        values = -(target * student).sum(1)
        if not self.cross_entropy:
            values = (values - torch.special.entr(target).sum(1)).clamp_min(0)
        return self.temperature ** 2 * (values * weights).sum() / total
