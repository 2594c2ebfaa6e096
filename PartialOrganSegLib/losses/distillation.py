"""Distillation from a frozen start model, for what a case leaves unknown: against forgetting during fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..errors import Code, UserError
from ..loading.targets import Targets
from .registry import LOSSES
from .supervision import Supervision


@LOSSES.register("distillation", source="Hinton 2015, on candidate sets")
class Distillation(nn.Module):
    """`T^2 mean over unknown voxels of KL(t || p)` with soft targets t of the batch's teacher (Hinton 2015).

    Unknown is where the candidate set leaves a choice. The annotation outranks the teacher: t and p are the teacher's
    and the student's probabilities restricted to the voxel's candidate set and renormalised, so the loss compares the
    choices within the set. That the voxel is in the set is the marginal cross entropy's to teach: were p not
    restricted, each voxel beside an annotated organ would speak against it twice, and organs would come out too small.
    Both sides are softened by the temperature T.
    `cross_entropy`: `-sum t log p` instead; it has the same gradient, and does not reach 0 for an undecided teacher.
    `new_classes`: those that the teacher has never seen. It took them for background, so their probability counts with
    the background's on both sides (Cermelli 2020, Modeling the Background, equations 8-9), as far as the voxel may be
    either.
    `drawn_weight`: how often a voxel of a sparsely labelled image counts in the sum (`Supervision.sparsely_labelled`;
    once in the number that it is divided by). A handful of strokes moves a network as far as a mask does, and knows
    less.
    """

    def __init__(self, temperature: float = 1.0, cross_entropy: bool = False, new_classes: Sequence[int] = (),
                 drawn_weight: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise UserError(code=Code.VALUE_OUT_OF_RANGE, subject="loss_arguments: distillation.temperature",
                            expected="more than 0", found=temperature)
        self.temperature, self.cross_entropy, self.new_classes = temperature, cross_entropy, list(new_classes)
        self.drawn_weight = drawn_weight

    def forward(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Scalar float32, at least 0. Exactly 0, with a graph, when every voxel is known. Raises UserError for a batch
        without teacher."""
        batch = Supervision.of(logits, targets)
        voxels = batch.all_voxels
        teacher, allowed = voxels.teacher_logits / self.temperature, voxels.allowed
        weights = voxels.weights * batch.open[voxels.codes]
        total = weights.sum()
        if not total:
            return batch.zero
        student = voxels.log_probabilities
        if self.temperature != 1:
            student = torch.log_softmax(voxels.logits / self.temperature, dim=1)
        if self.new_classes:
            teacher, student, allowed = self._as_the_teacher_sees(teacher, student, allowed)
        # Both restricted to the candidate set: -inf takes a class out of softmax and logsumexp.
        target = torch.softmax(teacher.masked_fill(~allowed, float("-inf")), dim=1)
        inside = torch.logsumexp(student.masked_fill(~allowed, float("-inf")), dim=1)
        values = inside - (target * student).sum(1)
        if not self.cross_entropy:
            values = (values + torch.xlogy(target, target).sum(1)).clamp_min(0)
        if self.drawn_weight != 1:
            weights = weights * torch.where(batch.sparsely_labelled, self.drawn_weight, 1.0)[voxels.images]
        return self.temperature ** 2 * (values * weights).sum() / total

    def _as_the_teacher_sees(self, teacher: torch.Tensor, student: torch.Tensor,
                             allowed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits, log probabilities and candidates (N, C - new) with the new classes joined to the background."""
        joined = [0, *self.new_classes]
        separate = [label for label in range(teacher.shape[1]) if label not in joined]
        possible = allowed[:, joined].any(1, keepdim=True)
        # Where the voxel may be none of them, all take part: no term uses the sum then, but it must stay finite.
        members = allowed[:, joined] | ~possible
        background = torch.logsumexp(student[:, joined].masked_fill(~members, float("-inf")), 1, keepdim=True)
        return (torch.cat([torch.logsumexp(teacher[:, joined], 1, keepdim=True), teacher[:, separate]], 1),
                torch.cat([background, student[:, separate]], 1), torch.cat([possible, allowed[:, separate]], 1))
