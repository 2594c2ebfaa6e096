"""What the losses on candidate sets need of a batch, computed once for all of them and only when one asks for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cached_property

import torch
from torch.autograd.function import FunctionCtx

from ..annotation import OUTSIDE
from ..errors import Code, UserError
from ..loading.targets import Targets, mean_pooled
from .voxels import BackwardContext, JoinedVoxels, RepeatedVoxels, Voxels

SPARSE_SHARE = 0.1  # masks label all of a patch that lies inside the image; strokes some per mille


class Supervision:
    """A batch's logits (B, C, *spatial), of any float type, beside what its targets say of the voxels.

    All sums are in float32 whatever the network's precision. Raises ValueError for logits that do not fit the targets.

    A voxel is *labelled* where its candidate set excludes something and *unknown* where the set leaves a choice: a
    voxel of the background of a partial label is both. A voxel outside the image is neither, and in none of the
    selections below.
    """

    def __init__(self, logits: torch.Tensor, targets: Targets) -> None:
        candidate_map, classes = targets.candidate_map, targets.candidate_sets.shape[1]
        if logits.shape[0] != candidate_map.shape[0] or logits.shape[2:] != candidate_map.shape[1:]:
            raise ValueError(f"logits {tuple(logits.shape)} do not fit the candidate map {tuple(candidate_map.shape)}")
        if logits.shape[1] != classes:
            raise ValueError(f"{logits.shape[1]} classes in the logits, {classes} in the candidate sets")
        self.logits, self.targets = logits, targets

    @classmethod
    def of(cls, logits: torch.Tensor, targets: Targets) -> Supervision:
        """The one of these logits and targets that losses share at the moment (`shared`), or else a new one."""
        present = _SHARED.get()
        if present is not None and present.logits is logits and present.targets is targets:
            return present
        if targets.finer_map is not None:
            return PooledSupervision(logits, targets)
        return cls(logits, targets)

    @property
    def voxels_per_image(self) -> int:
        """Number of voxels of one image of the batch."""
        return self.targets.candidate_map[0].numel()

    @cached_property
    def inside(self) -> torch.Tensor:
        """(K,) bool: codes of voxels of an image, all but `OUTSIDE`."""
        codes = torch.arange(len(self.targets.candidate_sets), device=self.targets.candidate_sets.device)
        return codes != OUTSIDE

    @cached_property
    def informative(self) -> torch.Tensor:
        """(K,) bool: codes that exclude at least one class."""
        return ~self.targets.candidate_sets.all(dim=1)

    @cached_property
    def open(self) -> torch.Tensor:
        """(K,) bool: codes that leave a choice, of voxels inside the image."""
        return (self.targets.candidate_sets.sum(dim=1) > 1) & self.inside

    @cached_property
    def sparsely_labelled(self) -> torch.Tensor:
        """(B,) bool: images of which fewer than `SPARSE_SHARE` of the voxels are labelled, as strokes do."""
        codes = self.targets.candidate_map.int().flatten(1)
        labelled, inside = (mask[codes].float().sum(1) for mask in (self.informative, self.inside))
        return labelled < SPARSE_SHARE * inside.clamp_min(1)

    @cached_property
    def share(self) -> torch.Tensor:
        """(K,) float32: the share of each code's voxels that is used."""
        sets, limit = self.targets.candidate_sets, self.targets.voxels_per_set
        if not limit:
            return torch.ones(len(sets), device=sets.device)
        counts = torch.bincount(self._flat_codes, minlength=len(sets)).float()
        return (limit / counts.clamp_min(1)).clamp_max(1)

    @cached_property
    def labelled(self) -> Voxels:
        """The labelled voxels used."""
        return self._voxels(self.informative)

    @cached_property
    def unlabelled(self) -> Voxels:
        """The voxels used of those inside the image that may be anything."""
        return self._voxels(self.inside & ~self.informative)

    @cached_property
    def all_voxels(self) -> Voxels:
        """All voxels used, labelled or not."""
        if not len(self.unlabelled):
            return self.labelled  # what is already computed of them need not be copied
        return JoinedVoxels(self.labelled, self.unlabelled)

    @cached_property
    def with_soft_target(self) -> Voxels:
        """The voxels that have a soft target, all of them: whoever cuts the patches bounds their number."""
        assert self.targets.soft is not None
        index = torch.nonzero(self.targets.soft.probabilities.amax(dim=1).reshape(-1)).squeeze(1)
        return Voxels(self, index, self._flat_codes[index].long(), torch.ones_like(index, dtype=torch.float32))

    @cached_property
    def probability_map(self) -> torch.Tensor:
        """(B, C, *spatial) float32 softmax at every voxel, for losses that need neighbours."""
        return torch.softmax(self.logits.float(), dim=1)

    @cached_property
    def unknown_map(self) -> torch.Tensor:
        """(B, *spatial) bool: where the candidate set leaves a choice."""
        return self.open[self.targets.candidate_map.int()]

    @cached_property
    def inside_map(self) -> torch.Tensor:
        """(B, *spatial) bool: which voxels the image has."""
        return self.targets.candidate_map != OUTSIDE

    @cached_property
    def intensity(self) -> torch.Tensor:
        """(B, *spatial) float32: the image, of several channels the middle one (of neighbouring slices: the one that
        is predicted). Raises ValueError for a batch without image."""
        image = self.targets.image
        if image is None:
            raise ValueError("this loss needs the image")
        return image.detach()[:, image.shape[1] // 2].float()

    @property
    def teacher_logits(self) -> torch.Tensor:
        """(B, C, *spatial). Raises UserError for a batch without teacher."""
        if self.targets.teacher is None:
            raise UserError(code=Code.SETTING_MISSING, subject="losses", expected="a teacher network for distillation",
                            found="none", hint="start from a model or leave distillation out")
        return self.targets.teacher.detach()

    @cached_property
    def zero(self) -> torch.Tensor:
        """0 with a valid graph, for batches in which a loss has nothing to say."""
        zero: torch.Tensor = _Zero.apply(self.logits)  # type: ignore[no-untyped-call]  # torch has no types for it
        return zero

    @cached_property
    def _flat_codes(self) -> torch.Tensor:
        return self.targets.candidate_map.reshape(-1).int()

    @cached_property
    def _voxel_shares(self) -> torch.Tensor:
        return self.share[self._flat_codes]

    @cached_property
    def _chance(self) -> torch.Tensor:
        return torch.rand_like(self._voxel_shares)

    def _voxels(self, selected: torch.Tensor) -> Voxels:
        """The voxels used of the codes marked in `selected` (K,)."""
        # The same chances for every selection: disjoint selections make up the same sample of the batch.
        chosen = selected[self._flat_codes]
        if self.targets.voxels_per_set:
            chosen &= self._chance < self._voxel_shares
        index = torch.nonzero(chosen).squeeze(1)
        codes = self._flat_codes[index].long()
        return Voxels(self, index, codes, 1 / self.share[codes])


class PooledSupervision(Supervision):
    """A coarse output's batch in which each voxel has all candidate sets of the fine voxels it covers, by their share.

    Targets must have a `finer_map`. All voxels are used, without a limit: there are few of them.
    """

    @cached_property
    def _shares_by_code(self) -> list[tuple[int, torch.Tensor]]:
        finer_map, size = self.targets.finer_map, self.targets.candidate_map.shape[1:]
        assert finer_map is not None
        return [(int(code), mean_pooled((finer_map == code)[:, None], size).flatten())
                for code in torch.unique(finer_map)]

    def _voxels(self, selected: torch.Tensor) -> Voxels:
        indices, codes, weights = [], [], []
        for code, share in self._shares_by_code:
            if selected[code]:
                index = torch.nonzero(share).squeeze(1)
                indices.append(index)
                codes.append(torch.full_like(index, code))
                weights.append(share[index])
        if not indices:
            none = torch.zeros(0, dtype=torch.int64, device=self.logits.device)
            return RepeatedVoxels(self, none, none, none.float())
        return RepeatedVoxels(self, torch.cat(indices), torch.cat(codes), torch.cat(weights))


_SHARED: ContextVar[Supervision | None] = ContextVar("supervision", default=None)


@contextlib.contextmanager
def shared(logits: torch.Tensor, targets: Targets) -> Iterator[None]:
    """Losses called with these within the block compute what they have in common once, on one graph."""
    token = _SHARED.set(Supervision.of(logits, targets))
    try:
        yield
    finally:
        _SHARED.reset(token)


class _Zero(torch.autograd.Function):
    """0 whose slope is 0 everywhere, at no cost."""

    @staticmethod
    def forward(context: FunctionCtx, source: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(source)
        return source.new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(context: BackwardContext, gradient: torch.Tensor) -> torch.Tensor:
        (source,) = context.saved_tensors
        return source.new_zeros(()).expand_as(source)
