"""What every loss on candidate sets needs of a batch, computed once and only when a loss asks for it."""

from __future__ import annotations

from functools import cached_property

import torch

from ..errors import Code, UserError
from .voxels import JoinedVoxels, SoftMap, Voxels

DRAWN_SHARE = 0.1  # masks label all of a patch, bar what lies outside the image; strokes some per mille


class Supervision:
    """A batch's logits beside what its annotations say.

    `logits` (B, C, *spatial) in two or three dimensions, any float type; `codes` (B, *spatial) integers into `table`
    (K, C) bool, row 0 of which is the whole label space. `image` (B, in_channels, *spatial) is the network's
    normalised input, `teacher` (B, C, *spatial) logits of a frozen network, `soft` the soft targets of foreign ones;
    all three optional and without gradient.
    All sums are in float32 whatever the network's precision.

    A voxel is *labelled* where its candidate set excludes something and *unknown* where the set leaves a choice: a
    voxel of the background of a partial label is both.

    `voxels_per_set` bounds the cost: of a candidate set with more voxels in the batch (the background, mostly) a
    random part is used, each voxel with the weight that keeps every sum's expectation. 0 uses all.
    """

    def __init__(self, logits: torch.Tensor, codes: torch.Tensor, table: torch.Tensor, voxels_per_set: int = 0,
                 image: torch.Tensor | None = None, teacher: torch.Tensor | None = None,
                 soft: SoftMap | None = None) -> None:
        if logits.shape[0] != codes.shape[0] or logits.shape[2:] != codes.shape[1:]:
            raise ValueError(f"logits {tuple(logits.shape)} do not fit codes {tuple(codes.shape)}")
        if logits.shape[1] != table.shape[1]:
            raise ValueError(f"{logits.shape[1]} classes in the logits, {table.shape[1]} in the candidate table")
        if image is not None and (image.shape[0] != codes.shape[0] or image.shape[2:] != codes.shape[1:]):
            raise ValueError(f"image {tuple(image.shape)} does not fit codes {tuple(codes.shape)}")
        if teacher is not None and teacher.shape != logits.shape:
            raise ValueError(f"teacher {tuple(teacher.shape)} does not fit logits {tuple(logits.shape)}")
        if soft is not None and (soft.probabilities.shape[0] != codes.shape[0]
                                 or soft.probabilities.shape[2:] != codes.shape[1:]
                                 or soft.sets.shape != (soft.probabilities.shape[1], table.shape[1])):
            raise ValueError(f"soft targets {tuple(soft.probabilities.shape)} of sets {tuple(soft.sets.shape)} do not "
                             f"fit codes {tuple(codes.shape)} and {table.shape[1]} classes")
        self.logits, self.codes, self.table = logits, codes, table
        self.voxels_per_set = voxels_per_set
        self.image, self.teacher, self.soft = image, teacher, soft

    @property
    def voxels_per_image(self) -> int:
        """Number of voxels of one image of the batch."""
        return self.codes[0].numel()

    @cached_property
    def informative(self) -> torch.Tensor:
        """(K,) bool: codes that exclude at least one class."""
        return ~self.table.all(dim=1)

    @cached_property
    def open(self) -> torch.Tensor:
        """(K,) bool: codes that leave a choice."""
        return self.table.sum(dim=1) > 1

    @cached_property
    def drawn(self) -> torch.Tensor:
        """(B,) bool: images of which fewer than `DRAWN_SHARE` of the voxels are labelled, as strokes do."""
        labelled = self.informative[self.codes.int()]
        return labelled.flatten(1).float().mean(1) < DRAWN_SHARE

    @cached_property
    def share(self) -> torch.Tensor:
        """(K,) float32: the share of each code's voxels that is used."""
        if not self.voxels_per_set:
            return torch.ones(len(self.table), device=self.table.device)
        counts = torch.bincount(self._flat_codes, minlength=len(self.table)).float()
        return (self.voxels_per_set / counts.clamp_min(1)).clamp_max(1)

    @cached_property
    def labelled(self) -> Voxels:
        """The labelled voxels used."""
        return self._voxels(self.informative)

    @cached_property
    def unlabelled(self) -> Voxels:
        """The voxels used of those that may be anything."""
        return self._voxels(~self.informative)

    @cached_property
    def every(self) -> Voxels:
        """All voxels used, labelled or not."""
        return JoinedVoxels(self.labelled, self.unlabelled) if len(self.unlabelled) else self.labelled

    @cached_property
    def with_soft_target(self) -> Voxels:
        """The voxels that have a soft target, all of them: whoever cuts the patches bounds their number."""
        assert self.soft is not None
        index = torch.nonzero(self.soft.probabilities.amax(dim=1).reshape(-1)).squeeze(1)
        return Voxels(self, index, self._flat_codes[index].long(), torch.ones_like(index, dtype=torch.float32))

    @cached_property
    def probability_map(self) -> torch.Tensor:
        """(B, C, *spatial) float32 softmax at every voxel, for losses that need neighbours."""
        return torch.softmax(self.logits.float(), dim=1)

    @cached_property
    def unknown_map(self) -> torch.Tensor:
        """(B, *spatial) bool: where the candidate set leaves a choice."""
        return self.open[self.codes.int()]

    @cached_property
    def intensity(self) -> torch.Tensor:
        """(B, *spatial) float32: the image, of several channels the middle one (of neighbouring slices: the one that
        is predicted). Raises ValueError for a batch without image."""
        if self.image is None:
            raise ValueError("this loss needs the image")
        return self.image.detach()[:, self.image.shape[1] // 2].float()

    @property
    def teacher_logits(self) -> torch.Tensor:
        """(B, C, *spatial). Raises UserError for a batch without teacher."""
        if self.teacher is None:
            raise UserError(code=Code.SETTING_MISSING, subject="losses", expected="a teacher network for distillation",
                            found="none", hint="start from a model or leave distillation out")
        return self.teacher.detach()

    @cached_property
    def zero(self) -> torch.Tensor:
        """0 with a valid graph, for batches in which a loss has nothing to say."""
        return _Zero.apply(self.logits)

    @cached_property
    def _flat_codes(self) -> torch.Tensor:
        return self.codes.reshape(-1).int()

    @cached_property
    def _voxel_shares(self) -> torch.Tensor:
        return self.share[self._flat_codes]

    @cached_property
    def _chance(self) -> torch.Tensor:
        return torch.rand_like(self._voxel_shares)

    def _voxels(self, wanted: torch.Tensor) -> Voxels:
        """The voxels used of the codes marked in `wanted` (K,)."""
        chosen = wanted[self._flat_codes]
        if self.voxels_per_set:
            chosen &= self._chance < self._voxel_shares
        index = torch.nonzero(chosen).squeeze(1)
        codes = self._flat_codes[index].long()
        return Voxels(self, index, codes, 1 / self.share[codes])


class _Zero(torch.autograd.Function):
    """0 whose slope is 0 everywhere, at no cost."""

    @staticmethod
    def forward(context, source: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(source)
        return source.new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> torch.Tensor:
        (source,) = context.saved_tensors
        return source.new_zeros(()).expand_as(source)
