"""Entropy minimisation (WORD, Luo 2021, equation 2): the network should make up its mind about unknown voxels."""

from __future__ import annotations

import math

import torch
from torch import nn

from ..loading.targets import Targets
from .registry import LOSSES
from .supervision import Supervision


@LOSSES.register("entropy", source="Luo 2021 (2)")
class Entropy(nn.Module):
    """`mean over unknown voxels of -sum_c p_c log p_c`, in nats; unknown where the candidate set leaves a choice.

    `normalised` divides by log C, as the authors' code does, so that an undecided network has 1.
    """

    def __init__(self, normalised: bool = False) -> None:
        super().__init__()
        self.normalised = normalised

    def forward(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Scalar float32 in 0..log C. Exactly 0, with a graph, when every voxel is known."""
        batch = Supervision.of(logits, targets)
        # A mean over the batch's unknown voxels: a patch with few of them counts less than one of an unlabelled case.
        voxels = batch.all_voxels
        weights = voxels.weights * batch.open[voxels.codes]
        total = weights.sum()
        if not total:
            return batch.zero
        values = -(voxels.probabilities * voxels.log_probabilities).sum(1)
        mean = (values * weights).sum() / total
        if self.normalised:
            mean = mean / math.log(targets.candidate_sets.shape[1])
        return mean
