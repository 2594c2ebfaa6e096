"""What merged scores say: the best class of each voxel, and how sure an organ is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from ..imaging.shapes import LabelMap
from .sparse_scores import Scores, SparseScores, rows_at

# Below this probability a class is as good as impossible; its logarithm still fits into half precision.
LEAST_PROBABILITY = 1e-6


def best_classes(scores: Scores) -> npt.NDArray[np.uint8]:
    """uint8 (z, y, x): class with the highest score; the first of several."""
    if isinstance(scores, SparseScores):
        return scores.best_classes()
    labels = np.zeros(scores.shape[:3], np.uint8)
    for z, plane in enumerate(scores):  # argmax gives int64, eight times what is kept
        # With the classes first: over a last axis as short as this the maximum takes many times as long.
        labels[z] = plane.permute(2, 0, 1).float().contiguous().max(0).indices
    return labels


def mean_probabilities(scores: Iterable[torch.Tensor], count: int) -> torch.Tensor:
    """float16 logarithms of `mean_k softmax(scores_k)`, of `count` float16 logits (z, y, x, class) one by one."""
    mean: torch.Tensor | None = None
    for logits in scores:
        if mean is None:
            mean = torch.zeros_like(logits)
        # Slice by slice: in float32 all of a CT at once would take as much memory as four of these.
        for total, plane in zip(mean, logits, strict=True):
            total += (torch.softmax(plane.float(), dim=-1) / count).half()
    assert mean is not None
    for plane in mean:
        plane.copy_(plane.float().clamp_min(LEAST_PROBABILITY).log_())
    return mean


def mean_logits(scores: Iterable[torch.Tensor], count: int) -> torch.Tensor:
    """float16 mean of `count` float16 logits one by one, as nnU-Net averages its folds."""
    mean: torch.Tensor | None = None
    for logits in scores:
        if mean is None:
            mean = torch.zeros_like(logits)
        mean += logits / count
    assert mean is not None
    return mean


class OrganEntropy(dict[str, float]):
    """Organ to the mean entropy of its voxels, in nats. `unsurest`: organ to the slice where its voxels' entropies add
    up to the most; a slice's number, or its place in LPS mm once `segmenting.patient` has set it. Empty where nobody
    looked."""

    def __init__(self, nats: Mapping[str, float], unsurest: Mapping[str, float] | None = None) -> None:
        super().__init__(nats)
        self.unsurest = dict(unsurest or {})


def mean_entropy(scores: Scores, labels: LabelMap, names: Sequence[str]) -> OrganEntropy:
    """Entropy in nats of the softmax over each found organ's voxels at working spacing, with the slices' numbers."""
    # A slice at a time: float32 of a whole CT would be twice the scores.
    sums = np.zeros((len(labels), len(names) + 1))
    count = np.zeros(len(names) + 1)
    for z in range(len(labels)):
        in_organ = labels[z] > 0
        if not in_organ.any():
            continue
        box = (slice(z, z + 1), slice(0, in_organ.shape[0]), slice(0, in_organ.shape[1]))
        # With the classes first, as above.
        logarithm = torch.log_softmax(rows_at(scores, box, in_organ[None]).float().t().contiguous(), dim=0)
        entropy = -(logarithm.exp() * logarithm).sum(0).numpy()
        sums[z] = np.bincount(labels[z][in_organ], entropy, minlength=len(count))
        count += np.bincount(labels[z][in_organ], minlength=len(count))
    total, highest = sums.sum(axis=0), sums.argmax(axis=0)
    present = {name: i for i, name in enumerate(names, 1) if count[i]}
    return OrganEntropy({name: float(total[i] / count[i]) for name, i in present.items()},
                        {name: float(highest[i]) for name, i in present.items()})
