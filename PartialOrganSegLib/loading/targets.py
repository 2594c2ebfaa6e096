"""What a batch of patches should be segmented as: one object on its whole way from the sampler to the losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ..annotation import OUTSIDE, UNKNOWN


class SoftMap(NamedTuple):
    """What foreign teachers say of a batch: `probabilities` (B, M, *spatial), of any type and scale, all 0 at voxels
    without a soft target, beside the classes that each of theirs stands for, `sets` (M, C) bool."""

    probabilities: torch.Tensor
    sets: torch.Tensor


@dataclass(frozen=True)
class Targets:
    """A batch's annotations, and all else that losses compare a network's output with. Two or three dimensions.

    `candidate_map` (B, *spatial) uint8: each voxel's row in `candidate_sets` (K, C) bool, which says what classes it
    may be. Rows `UNKNOWN` and `OUTSIDE` are the whole label space; a voxel that is `OUTSIDE` belongs to no image
    (padding, or what augmentation turned into the patch) and counts in no loss.
    `image` (B, channels, *spatial) is the network's normalised input, `teacher` (B, C, *spatial) the logits of a frozen
    network, `soft` the soft targets of foreign ones. `fully_labelled` (B,) bool says whether each patch is of a case
    that is labelled in full; without it, it is read off the patch.

    `voxels_per_set` bounds the cost of losses: of a candidate set with more voxels in the batch (the background,
    mostly) a random part is used, each voxel with the weight that keeps every sum's expectation. 0 uses all.
    `finer_map` (B, *finer) is the candidate map that this one was made coarser from, where a voxel counts for every
    set within it (`pooled`). `finest` is false for the further outputs of deep supervision: what a loss keeps from
    batch to batch goes on by the finest output alone.

    Raises ValueError where shapes do not fit, or where row `OUTSIDE` of the candidate sets excludes a class.
    """

    candidate_map: torch.Tensor
    candidate_sets: torch.Tensor
    image: torch.Tensor | None = None
    teacher: torch.Tensor | None = None
    soft: SoftMap | None = None
    fully_labelled: torch.Tensor | None = None
    voxels_per_set: int = 0
    finer_map: torch.Tensor | None = None
    finest: bool = True

    def __post_init__(self) -> None:
        batch, *spatial = self.candidate_map.shape
        classes = self.candidate_sets.shape[1]
        for name, tensor in (("image", self.image), ("teacher", self.teacher)):
            if tensor is not None and (tensor.shape[0] != batch or list(tensor.shape[2:]) != spatial):
                raise ValueError(f"{name} {tuple(tensor.shape)} does not fit the candidate map "
                                 f"{tuple(self.candidate_map.shape)}")
        if self.teacher is not None and self.teacher.shape[1] != classes:
            raise ValueError(f"teacher: expected {classes} classes, found {self.teacher.shape[1]}")
        if self.soft is not None:
            expected = (batch, len(self.soft.sets), *spatial)
            if self.soft.probabilities.shape != expected or self.soft.sets.shape[1] != classes:
                raise ValueError(f"soft targets {tuple(self.soft.probabilities.shape)} of sets "
                                 f"{tuple(self.soft.sets.shape)} do not fit the candidate map "
                                 f"{tuple(self.candidate_map.shape)} and {classes} classes")
        if self.fully_labelled is not None and self.fully_labelled.shape != (batch,):
            raise ValueError(f"fully_labelled: expected one value for each of {batch} patches, found "
                             f"{tuple(self.fully_labelled.shape)}")
        if self.candidate_sets.device.type == "cpu":  # elsewhere the question would wait for the device
            for code in (UNKNOWN, OUTSIDE):
                if len(self.candidate_sets) <= code or not self.candidate_sets[code].all():
                    raise ValueError(f"candidate sets: expected the whole label space in row {code}")

    @classmethod
    def joined(cls, parts: Sequence[Targets]) -> Targets:
        """Several batches of the same run as one, in their order.

        Soft targets and `fully_labelled` may be missing in some: there is no soft target there, and fully labelled is
        then unknown of all. Image and teacher must be in all or in none.
        """
        first = parts[0]
        # Of some patches alone nobody could say it: then it is read off all of them.
        flags = [part.fully_labelled for part in parts if part.fully_labelled is not None]
        return replace(
            first,
            candidate_map=torch.cat([part.candidate_map for part in parts]),
            image=_cat([part.image for part in parts]),
            teacher=_cat([part.teacher for part in parts]),
            soft=_joined_soft(parts),
            fully_labelled=torch.cat(flags) if len(flags) == len(parts) else None)

    def to(self, device: torch.device | str) -> Targets:
        """With all tensors on `device`."""
        moved = self.changed(lambda tensor: tensor.to(device))
        soft = moved.soft
        if soft is not None:
            soft = SoftMap(soft.probabilities, soft.sets.to(device))
        return replace(moved, candidate_sets=self.candidate_sets.to(device), soft=soft)

    def shared(self) -> Targets:
        """With all tensors in memory that other processes can share. Raises RuntimeError where there is no room."""
        for tensor in (self.candidate_sets, None if self.soft is None else self.soft.sets):
            if tensor is not None:
                tensor.share_memory_()
        return self.changed(lambda tensor: tensor.share_memory_())

    def changed(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Targets:
        """With `change` done to every tensor that has something for each patch: all but the sets of classes."""
        return self._replaced(change, change)

    def central(self, size: Sequence[int]) -> Targets:
        """Of the central `size` voxels: what a 2.5D network in training predicts of its patch."""
        return self._replaced(lambda tensor: central(tensor, size))

    def of_partial_cases(self) -> Targets:
        """Without the patches of fully labelled cases, whose voxels become `OUTSIDE`: they count in no loss.

        Where `fully_labelled` is missing, a patch is one where no voxel inside the image leaves a choice.
        """
        full = self.fully_labelled
        if full is None:
            leaves_choice = self.candidate_sets.sum(1) > 1
            leaves_choice[OUTSIDE] = False
            full = ~leaves_choice[self.candidate_map.int()].flatten(1).any(1)
        if not full.any():
            return self
        candidate_map = self.candidate_map.clone()
        candidate_map[full] = OUTSIDE
        soft = self.soft
        if soft is not None:
            probabilities = soft.probabilities.clone()
            probabilities[full] = 0
            soft = SoftMap(probabilities, soft.sets)
        return replace(self, candidate_map=candidate_map, soft=soft)

    def pooled(self, size: Sequence[int], by_share: bool = False) -> Targets:
        """For a coarser output of `size` voxels, in the same box (deep supervision).

        A coarse voxel has the candidate set at its centre. With `by_share` it counts for every set inside it, by the
        share of its voxels (Fang 2020); `finer_map` then says what is inside. Teacher and soft targets are taken at the
        centres, the image is averaged.
        """
        def coarse(tensor: torch.Tensor) -> torch.Tensor:
            return at_centres(tensor, size)

        # A coarse voxel's brightness is the mean of what it covers, not that of a single voxel with its noise.
        pooled = replace(self, image=None)._replaced(coarse)
        if self.image is not None:
            pooled = replace(pooled, image=mean_pooled(self.image, size))
        if by_share:
            pooled = replace(pooled, finer_map=self.candidate_map)
        return pooled

    def _replaced(self, spatial: Callable[[torch.Tensor], torch.Tensor],
                  per_patch: Callable[[torch.Tensor], torch.Tensor] | None = None) -> Targets:
        """With `spatial` done to what has values for each voxel, `per_patch` to what has one for each patch."""
        def changed(tensor: torch.Tensor | None) -> torch.Tensor | None:
            if tensor is None:
                return None
            return spatial(tensor)

        soft, flags = self.soft, self.fully_labelled
        if soft is not None:
            soft = SoftMap(spatial(soft.probabilities), soft.sets)
        if flags is not None and per_patch is not None:
            flags = per_patch(flags)
        return replace(self, candidate_map=spatial(self.candidate_map), image=changed(self.image),
                       teacher=changed(self.teacher), soft=soft, fully_labelled=flags)


def central(tensor: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """The central part of a tensor: its last `len(size)` axes become `size`."""
    for axis, target in enumerate(size, start=tensor.ndim - len(size)):
        if tensor.shape[axis] != target:
            tensor = tensor.narrow(axis, (tensor.shape[axis] - target) // 2, target)
    return tensor


def at_centres(tensor: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """A tensor's values at the centres of coarser voxels: its last `len(size)` axes become `size`."""
    for axis, target in enumerate(size, start=tensor.ndim - len(size)):
        index = ((torch.arange(target, device=tensor.device) + 0.5) * tensor.shape[axis] / target).long()
        tensor = tensor.index_select(axis, index)
    return tensor


def mean_pooled(tensor: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """(B, C, *spatial) averaged to (B, C, *size) float32, in two or three dimensions."""
    if len(size) == 2:
        return F.adaptive_avg_pool2d(tensor.float(), (size[0], size[1]))
    return F.adaptive_avg_pool3d(tensor.float(), (size[0], size[1], size[2]))


def _cat(tensors: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    present = [tensor for tensor in tensors if tensor is not None]
    if not present:
        return None
    return torch.cat(present)


def _joined_soft(parts: Sequence[Targets]) -> SoftMap | None:
    """Zeros, which say that there is no soft target, beside those of parts that have some."""
    maps = [part.soft for part in parts if part.soft is not None]
    if not maps:
        return None
    sets, kind = maps[0].sets, maps[0].probabilities.dtype
    probabilities = []
    for part in parts:
        if part.soft is not None:
            probabilities.append(part.soft.probabilities)
        else:
            batch, *spatial = part.candidate_map.shape
            probabilities.append(torch.zeros(batch, len(sets), *spatial, dtype=kind, device=part.candidate_map.device))
    return SoftMap(torch.cat(probabilities), sets)
