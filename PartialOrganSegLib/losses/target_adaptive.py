"""Target adaptive loss (Fang 2020, equation 8): marginal cross entropy under the name of its paper."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import Code, UserError
from ..loading.targets import Targets
from .marginal import MarginalCrossEntropy
from .registry import LOSSES
from .supervision import Supervision


@LOSSES.register("target_adaptive", source="Fang 2020 (8)")
class TargetAdaptive(MarginalCrossEntropy):
    """`-mean [sum_{c in C_k} y_c log p_c + 1(sum y_c = 0) log(1 - sum_{c in C_k} p_c)]`, C_k the annotated organs.

    The second term's probability is that of the merged background, hence the same function. The paper prints no minus.
    `class_weights`: of the merged background and of organs, the factors w of equation 1 (section IV.B: 0.2 and 1.2 for
    a single organ). The sum is divided by the number of voxels as there, not by the sum of their weights.
    """

    def __init__(self, class_weights: Sequence[float] = (1.0, 1.0)) -> None:
        super().__init__()
        if len(class_weights) != 2 or min(class_weights) < 0 or not sum(class_weights) > 0:
            raise UserError(code=Code.VALUE_UNFIT, subject="loss_arguments: target_adaptive.class_weights",
                            expected="two factors, of the background and of organs", found=list(class_weights))
        self.background, self.organs = (float(weight) for weight in class_weights)

    def forward(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Scalar float32, at least 0."""
        if self.background == self.organs == 1:
            return super().forward(logits, targets)
        voxels = Supervision.of(logits, targets).labelled
        if not len(voxels):
            return Supervision.of(logits, targets).zero
        inside = voxels.log_probabilities.masked_fill(~voxels.allowed, float("-inf"))
        factors = torch.where(voxels.allowed[:, 0], self.background, self.organs)
        values = -torch.logsumexp(inside, dim=1) * factors
        return (values * voxels.weights).sum() / voxels.weights.sum()
