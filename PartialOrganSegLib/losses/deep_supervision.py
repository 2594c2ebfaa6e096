"""Losses on the outputs of several resolutions (deep supervision; deep pyramid supervision of Fang 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from ..loading.targets import Targets
from .weighted import WeightedLosses


class DeepSupervision(nn.Module):
    """Weighted sum of the same losses on a network's outputs, finest first.

    `weights`, one an output, are normalised to sum 1; None halves them from output to output (nnU-Net, Isensee 2021),
    equal ones are Fang's 1/S (equation 1). An output of weight 0 costs nothing.

    Coarser targets: the candidate set at each coarse voxel's centre, or `pooled` (Fang 2020): a coarse voxel counts for
    every candidate set inside it, with the share of its voxels. Its cross entropy is then
    `-sum_S share_S log sum_{c in S} p_c`, on full labels the paper's cross entropy against average-pooled labels, and
    sets are never merged into one that says less. See `Targets.pooled`.
    """

    def __init__(self, losses: WeightedLosses, weights: Sequence[float] | None = None, pooled: bool = False) -> None:
        super().__init__()
        self.losses, self.weights, self.pooled = losses, weights, pooled

    def forward(self, outputs: torch.Tensor | Sequence[torch.Tensor],
                targets: Targets) -> tuple[torch.Tensor, dict[str, float]]:
        """The sum, and the finest output's terms for the log.

        `outputs` (B, C, *spatial) each; `targets` in the finest output's size. Raises ValueError when the number of
        outputs is not that of the weights.
        """
        if isinstance(outputs, torch.Tensor):
            outputs = [outputs]
        total = outputs[0].new_zeros((), dtype=torch.float32)
        values: dict[str, float] = {}
        for level, (logits, weight) in enumerate(zip(outputs, self._shares(len(outputs)), strict=True)):
            # The finest is looked at in any case: the log shows its terms.
            if level and not weight:
                continue
            size = logits.shape[2:]
            fitting = targets
            if size != targets.candidate_map.shape[1:]:
                fitting = targets.pooled(size, self.pooled)
            if level:
                fitting = replace(fitting, finest=False)
            loss, terms = self.losses(logits, fitting)
            total = total + weight * loss
            values = values or terms
        return total, values

    def _shares(self, count: int) -> list[float]:
        weights = self.weights
        if weights is None:
            weights = [0.5 ** level for level in range(count)]
        if len(weights) != count:
            raise ValueError(f"deep supervision: {len(weights)} weights for {count} outputs")
        return [weight / sum(weights) for weight in weights]
