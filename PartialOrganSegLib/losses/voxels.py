"""Some voxels of a batch: where they are, what they may be, and what the network says of them."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import torch
from torch.autograd.function import FunctionCtx

from ..loading.targets import Targets


class BackwardContext(Protocol):
    """What `torch.autograd.Function` gives its `backward`."""

    @property
    def saved_tensors(self) -> tuple[torch.Tensor, ...]: ...


class Batch(Protocol):
    """What voxels read of the batch that they are from: `Supervision`, which says what each of these is."""

    @property
    def logits(self) -> torch.Tensor: ...

    @property
    def targets(self) -> Targets: ...

    @property
    def voxels_per_image(self) -> int: ...

    @property
    def intensity(self) -> torch.Tensor: ...

    @property
    def teacher_logits(self) -> torch.Tensor: ...


class Voxels:
    """N voxels of a batch with their candidate sets' codes and weights.

    `index` (N,) int64, flat over B x voxels; `codes` (N,) int64; `weights` (N,) float32, how many voxels of the batch
    each one stands for. The network's probabilities are computed on first use, in float32, once for all losses.
    """

    def __init__(self, batch: Batch, index: torch.Tensor, codes: torch.Tensor, weights: torch.Tensor) -> None:
        self.batch, self.index, self.codes, self.weights = batch, index, codes, weights

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def logits(self) -> torch.Tensor:
        """(N, C) float32 logits."""
        voxels = _by_voxel(self.batch.logits)
        selected: torch.Tensor = _Rows.apply(voxels, self.index)  # type: ignore[no-untyped-call]  # torch has no types
        return selected.float()

    @cached_property
    def log_probabilities(self) -> torch.Tensor:
        """(N, C) float32 log softmax of `logits`."""
        return torch.log_softmax(self.logits, dim=1)

    @cached_property
    def probabilities(self) -> torch.Tensor:
        """(N, C) float32 softmax of `logits`."""
        return self.log_probabilities.exp()

    @cached_property
    def images(self) -> torch.Tensor:
        """(N,) int64: which image of the batch each voxel is from."""
        return self.index // self.batch.voxels_per_image

    @cached_property
    def allowed(self) -> torch.Tensor:
        """(N, C) bool candidate sets."""
        return self.batch.targets.candidate_sets[self.codes]

    @cached_property
    def intensity(self) -> torch.Tensor:
        """(N,) float32: the image at each voxel. Raises ValueError for a batch without image."""
        return self.batch.intensity.reshape(-1)[self.index]

    @cached_property
    def teacher_logits(self) -> torch.Tensor:
        """(N, C) float32 logits of the teacher. Raises UserError for a batch without teacher."""
        return _by_voxel(self.batch.teacher_logits).index_select(0, self.index).float()

    @cached_property
    def soft_probabilities(self) -> torch.Tensor:
        """(N, M) float32 soft targets, of the scale that the batch has them in."""
        soft = self.batch.targets.soft
        assert soft is not None
        return _by_voxel(soft.probabilities).index_select(0, self.index).float()

    @cached_property
    def counts(self) -> torch.Tensor:
        """(B, K) float32: how many voxels of each image have each code, by weight."""
        batches, codes = len(self.batch.logits), len(self.batch.targets.candidate_sets)
        # One number for image and code, so that one pass counts both.
        group = self.images * codes + self.codes
        return torch.bincount(group, self.weights, minlength=batches * codes).view(batches, codes).float()

    @cached_property
    def probability_sums(self) -> torch.Tensor:
        """(B, K, C) float32: the weighted sum of the probabilities over the voxels of each image and code."""
        batches, codes = len(self.batch.logits), len(self.batch.targets.candidate_sets)
        sums = group_sum(self.probabilities, self.images * codes + self.codes, self.weights, batches * codes)
        return sums.view(batches, codes, -1)


class JoinedVoxels(Voxels):
    """The voxels of two disjoint sets, with what was already computed of either."""

    def __init__(self, first: Voxels, second: Voxels) -> None:
        super().__init__(first.batch, torch.cat([first.index, second.index]), torch.cat([first.codes, second.codes]),
                         torch.cat([first.weights, second.weights]))
        self.parts = (first, second)

    @cached_property
    def logits(self) -> torch.Tensor:
        return torch.cat([part.logits for part in self.parts])

    @cached_property
    def log_probabilities(self) -> torch.Tensor:
        return torch.cat([part.log_probabilities for part in self.parts])

    @cached_property
    def probability_sums(self) -> torch.Tensor:
        return self.parts[0].probability_sums + self.parts[1].probability_sums


class RepeatedVoxels(Voxels):
    """Voxels of which one may occur several times, each time with another candidate set."""

    @cached_property
    def logits(self) -> torch.Tensor:
        return _by_voxel(self.batch.logits).index_select(0, self.index).float()


def group_sum(values: torch.Tensor, group: torch.Tensor, weights: torch.Tensor, groups: int) -> torch.Tensor:
    """(groups, D) sums of `weights * values` (N, D) over the rows of each group."""
    # A product with a matrix of weights: adding row by row would be slower, and on a GPU in no fixed order.
    selector = torch.zeros(len(group), groups, device=group.device).scatter_(1, group[:, None], weights[:, None])
    return selector.T @ values


def _by_voxel(array: torch.Tensor) -> torch.Tensor:
    """(B, C, *spatial) as (B x voxels, C); no copy where the channels are last in memory."""
    return array.movedim(1, -1).reshape(-1, array.shape[1])


class _Rows(torch.autograd.Function):
    """`source[index]` for an index without repetitions: the gradient is copied, which is far cheaper than adding."""

    @staticmethod
    def forward(context: FunctionCtx, source: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(index, torch.empty(len(source), 0))  # of the second, the length is all that counts
        return source.index_select(0, index)

    @staticmethod
    def backward(context: BackwardContext, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        index, source = context.saved_tensors
        return gradient.new_zeros(len(source), gradient.shape[1]).index_copy_(0, index, gradient), None
