"""Losses on the outputs of several resolutions (deep supervision; deep pyramid supervision of Fang 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import nn
from torch.nn import functional as F

from .supervision import Supervision
from .voxels import RepeatedVoxels, SoftMap, Voxels
from .weighted import WeightedLosses


class DeepSupervision(nn.Module):
    """Weighted sum of the same losses on a network's outputs, finest first.

    `weights`, one an output, are normalised to sum 1; None halves them from output to output (nnU-Net, Isensee 2021),
    equal ones are Fang's 1/S (equation 1). An output of weight 0 costs nothing.

    Coarser targets: the code at each coarse voxel's centre, or `pooled` (Fang 2020): a coarse voxel counts for every
    candidate set inside it, with the share of its voxels. Its cross entropy is then `-sum_S share_S log sum_{c in S}
    p_c`, on full labels the paper's cross entropy against average-pooled labels, and sets are never merged into one
    that says less. Teacher and soft targets are taken at the centres, the image is averaged.
    """

    def __init__(self, losses: WeightedLosses, weights: Sequence[float] | None = None, pooled: bool = False) -> None:
        super().__init__()
        self.losses, self.weights, self.pooled = losses, weights, pooled

    def forward(self, outputs: torch.Tensor | Sequence[torch.Tensor], codes: torch.Tensor, table: torch.Tensor,
                voxels_per_set: int = 0, image: torch.Tensor | None = None, teacher: torch.Tensor | None = None,
                soft: SoftMap | None = None) -> tuple[torch.Tensor, dict[str, float]]:
        """The sum, and the finest output's terms for the log.

        `outputs` (B, C, *spatial) each; the rest as for `Supervision`, in the finest output's size. Raises ValueError
        when the number of outputs is not that of the weights.
        """
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        total, values = outputs[0].new_zeros((), dtype=torch.float32), {}
        for level, (logits, weight) in enumerate(zip(outputs, self._shares(len(outputs)), strict=True)):
            if level and not weight:
                continue
            sizes = logits.shape[2:]
            if sizes == codes.shape[1:]:
                batch = Supervision(logits, codes, table, voxels_per_set, image, teacher, soft)
            else:
                coarse_image = None if image is None else _pool(image, sizes)
                coarse_teacher = None if teacher is None else at_centres(teacher, sizes)
                coarse_soft = None if soft is None else SoftMap(at_centres(soft.probabilities, sizes), soft.sets)
                coarse_codes = at_centres(codes, sizes)
                batch = (PooledSupervision(codes, logits, coarse_codes, table, voxels_per_set, coarse_image,
                                           coarse_teacher, coarse_soft) if self.pooled else
                         Supervision(logits, coarse_codes, table, voxels_per_set, coarse_image, coarse_teacher,
                                     coarse_soft))
            loss, terms = self.losses(batch)
            total = total + weight * loss
            values = values or terms
        return total, values

    def _shares(self, count: int) -> list[float]:
        weights = [0.5 ** level for level in range(count)] if self.weights is None else list(self.weights)
        if len(weights) != count:
            raise ValueError(f"deep supervision: {len(weights)} weights for {count} outputs")
        return [weight / sum(weights) for weight in weights]


class PooledSupervision(Supervision):
    """A coarse output's batch in which each voxel has all candidate sets of the fine voxels it covers, by their share.

    `fine_codes` (B, *fine sizes); the rest as for `Supervision`, in the coarse size. All voxels are used: there are
    few of them.
    """

    def __init__(self, fine_codes: torch.Tensor, logits: torch.Tensor, codes: torch.Tensor, table: torch.Tensor,
                 voxels_per_set: int = 0, image: torch.Tensor | None = None,
                 teacher: torch.Tensor | None = None, soft: SoftMap | None = None) -> None:
        super().__init__(logits, codes, table, voxels_per_set, image, teacher, soft)
        self.fine_codes = fine_codes

    @cached_property
    def _shares_by_code(self) -> list[tuple[int, torch.Tensor]]:
        sizes = self.codes.shape[1:]
        return [(int(code), _pool((self.fine_codes == code)[:, None].float(), sizes).flatten())
                for code in torch.unique(self.fine_codes)]

    def _voxels(self, wanted: torch.Tensor) -> Voxels:
        indices, codes, weights = [], [], []
        for code, share in self._shares_by_code:
            if wanted[code]:
                index = torch.nonzero(share).squeeze(1)
                indices.append(index)
                codes.append(torch.full_like(index, code))
                weights.append(share[index])
        if not indices:
            none = torch.zeros(0, dtype=torch.int64, device=self.codes.device)
            return RepeatedVoxels(self, none, none, none.float())
        return RepeatedVoxels(self, torch.cat(indices), torch.cat(codes), torch.cat(weights))


def at_centres(array: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """An array's values at the centres of coarser voxels: its last `len(sizes)` axes become `sizes`."""
    for axis, size in enumerate(sizes, start=array.ndim - len(sizes)):
        index = ((torch.arange(size, device=array.device) + 0.5) * array.shape[axis] / size).long()
        array = array.index_select(axis, index)
    return array


def _pool(array: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """(B, C, *spatial) averaged to `sizes`, in two or three dimensions."""
    pool = F.adaptive_avg_pool2d if len(sizes) == 2 else F.adaptive_avg_pool3d
    return pool(array.float(), tuple(sizes))
