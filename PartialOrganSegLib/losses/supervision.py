"""What every loss on candidate sets needs of a batch, computed once: the labelled voxels and their probabilities."""

from __future__ import annotations

from functools import cached_property

import torch


class Supervision:
    """A batch's logits beside what its annotations say.

    `logits` (B, C, *spatial), any float type; `codes` (B, *spatial) integers into `table` (K, C) bool, row 0 of which
    is the whole label space. Only voxels whose candidate set excludes something are *labelled*; all sums are over
    those, in float32 whatever the network's precision.

    `voxels_per_set` bounds the cost: of a candidate set with more voxels in the batch (the background, mostly) a
    random part is used, each voxel with the weight that keeps every sum's expectation. 0 uses all.
    """

    def __init__(self, logits: torch.Tensor, codes: torch.Tensor, table: torch.Tensor, voxels_per_set: int = 0) -> None:
        if logits.shape[0] != codes.shape[0] or logits.shape[2:] != codes.shape[1:]:
            raise ValueError(f"logits {tuple(logits.shape)} do not fit codes {tuple(codes.shape)}")
        if logits.shape[1] != table.shape[1]:
            raise ValueError(f"{logits.shape[1]} classes in the logits, {table.shape[1]} in the candidate table")
        self.logits, self.codes, self.table = logits, codes, table
        self.voxels_per_set = voxels_per_set

    @cached_property
    def informative(self) -> torch.Tensor:
        """(K,) bool: codes that exclude at least one class."""
        return ~self.table.all(dim=1)

    @cached_property
    def kept_share(self) -> torch.Tensor:
        """(K,) float32: the share of each code's voxels that is used; 0 for code 0 and others that exclude nothing."""
        share = self.informative.float()
        if self.voxels_per_set:
            counts = torch.bincount(self.codes.reshape(-1).int(), minlength=len(self.table)).float()
            share = share * (self.voxels_per_set / counts.clamp_min(1)).clamp_max(1)
        return share

    @cached_property
    def selected(self) -> torch.Tensor:
        """(N,) flat indices over B x voxels of the labelled voxels used."""
        share = self.kept_share[self.codes.reshape(-1).int()]
        chosen = torch.rand_like(share) < share if self.voxels_per_set else share > 0
        return torch.nonzero(chosen).squeeze(1)

    @cached_property
    def voxel_codes(self) -> torch.Tensor:
        """(N,) int64 codes of the labelled voxels used."""
        return self.codes.reshape(-1)[self.selected].long()

    @cached_property
    def weights(self) -> torch.Tensor:
        """(N,) float32: how many labelled voxels each used one stands for."""
        return 1 / self.kept_share[self.voxel_codes]

    @cached_property
    def rows(self) -> torch.Tensor:
        """(N, C) float32 logits of the labelled voxels used."""
        flat = self.logits.movedim(1, -1).reshape(-1, self.logits.shape[1])
        return flat.index_select(0, self.selected).float()

    @cached_property
    def log_probabilities(self) -> torch.Tensor:
        """(N, C) float32 log softmax of `rows`."""
        return torch.log_softmax(self.rows, dim=1)

    @cached_property
    def probabilities(self) -> torch.Tensor:
        """(N, C) float32 softmax of `rows`."""
        return self.log_probabilities.exp()

    @property
    def zero(self) -> torch.Tensor:
        """0 with a valid graph, for batches in which nothing is labelled."""
        return self.logits.reshape(-1)[:1].float().sum() * 0.0
