"""Soft targets from a foreign teacher network, each of whose classes stands for a set of ours."""

from __future__ import annotations

import torch
from torch import nn

from ..loading.targets import Targets
from .registry import LOSSES
from .supervision import Supervision


@LOSSES.register("soft_targets", source="Hinton 2015, a foreign teacher's classes as sets of ours")
class SoftTargets(nn.Module):
    """`mean over voxels with a soft target of KL(t || q)`, `q_k = sum_{c in S_k} p_c`.

    t is what a teacher with a label space of its own says (Hinton 2015), `S_k` the set of our classes that its class k
    stands for: merged organs, or "rest", the background and every organ that it does not know. The sets of one
    teacher partition our classes, so q is a distribution, that of Shi 2021 (equation 4): the network learns from the
    teacher as much as the teacher can tell and decides within each set by itself. For singletons and a t that is
    certain it is the cross entropy, and where t is certain of one set the marginal cross entropy on that set.

    The annotation outranks the teacher: a voxel counts only where its candidate set holds a class of the teacher's
    most likely set. Elsewhere the teacher is wrong, and its doubts are of no use either. `Distillation` restricts t to
    the candidate set instead, which suits voxels that the annotation leaves open; here it would make t certain at every
    labelled voxel, and what soft targets add to labels, the teacher's doubt at an organ's border, would be lost.
    """

    def forward(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Scalar float32, at least 0. Exactly 0, with a graph, in a batch where no soft target is left."""
        batch = Supervision.of(logits, targets)
        if targets.soft is None:
            return batch.zero
        voxels, sets = batch.with_soft_target, targets.soft.sets
        target = voxels.soft_probabilities
        agreed = (voxels.allowed & sets[target.argmax(1)]).any(1)
        if not agreed.any():
            return batch.zero
        # The teacher's numbers may be of any scale, such as 0 to 255.
        target = target / target.sum(1, keepdim=True)
        values = -(target * set_log_probabilities(voxels.log_probabilities, sets)).sum(1)
        entropy: torch.Tensor = torch.special.entr(target).sum(1)
        return (values - entropy).clamp_min(0)[agreed].mean()


def set_log_probabilities(log_probabilities: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
    """(N, M) `log sum_{c in S_k} p_c` of `log_probabilities` (N, C) and `sets` (M, C) bool, none of them empty."""
    alone = sets.sum(1) == 1
    merged = [torch.logsumexp(log_probabilities.masked_fill(~members, float("-inf")), 1, keepdim=True)
              for members in sets[~alone]]
    # Sets of one class need no sum; afterwards all go back to their places.
    order = torch.argsort(torch.cat([alone.nonzero(), (~alone).nonzero()]).squeeze(1))
    single = log_probabilities.index_select(1, sets[alone].int().argmax(1))
    joined: torch.Tensor = torch.cat([single, *merged], 1).index_select(1, order)
    return joined
