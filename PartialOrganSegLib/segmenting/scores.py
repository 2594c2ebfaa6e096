"""What merged scores say: the best class of each voxel, and how sure an organ is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from ..imaging.shapes import Box3, LabelMap
from .sparse_scores import Scores, SparseScores, rows_at

# Below this probability a class is as good as impossible; its logarithm still fits into half precision.
LEAST_PROBABILITY = 1e-6
AROUND_SLICE_MM = 15.0
MARGIN = 4  # voxels


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
    """Organ to the mean entropy of its voxels, in nats. `to_draw`: organ to the axial slice where a stroke is worth
    most, its place in LPS mm at the organ; empty where nobody looked."""

    def __init__(self, nats: Mapping[str, float], to_draw: Mapping[str, float] | None = None) -> None:
        super().__init__(nats)
        self.to_draw = dict(to_draw or {})


def mean_entropy(scores: Scores, labels: LabelMap, names: Sequence[str]) -> OrganEntropy:
    """Entropy in nats of the softmax over each found organ's voxels at working spacing."""
    # A slice at a time: float32 of a whole CT would be twice the scores.
    total = np.zeros(len(names) + 1)
    count = np.zeros(len(names) + 1)
    for z in range(len(labels)):
        in_organ = labels[z] > 0
        if not in_organ.any():
            continue
        box = (slice(z, z + 1), slice(0, in_organ.shape[0]), slice(0, in_organ.shape[1]))
        # With the classes first, as above.
        logarithm = torch.log_softmax(rows_at(scores, box, in_organ[None]).float().t().contiguous(), dim=0)
        entropy = -(logarithm.exp() * logarithm).sum(0).numpy()
        total += np.bincount(labels[z][in_organ], entropy, minlength=len(count))
        count += np.bincount(labels[z][in_organ], minlength=len(count))
    present = {name: i for i, name in enumerate(names, 1) if count[i]}
    return OrganEntropy({name: float(total[i] / count[i]) for name, i in present.items()})


def slices_to_draw(scores: Scores, labels: LabelMap, names: Sequence[str], slice_mm: float) -> dict[str, int]:
    """Of each found organ the slice around which most of it is expected to be missing.

    Per slice the probabilities of the organ add up over the voxels that have another label; smoothed along the axis by
    `AROUND_SLICE_MM`, as a stroke reaches into neighbouring slices too. Slices of `slice_mm`.
    """
    missing = np.zeros((len(labels), len(names) + 1))
    for z in range(len(labels)):
        box = _around_organs(labels[z], z)
        if box is None:
            continue
        # Every second voxel along both axes is sample enough of a sum over slices.
        sampled = np.zeros((1, box[1].stop - box[1].start, box[2].stop - box[2].start), bool)
        sampled[:, ::2, ::2] = True
        probability = torch.softmax(rows_at(scores, box, sampled).float().t().contiguous(), dim=0).numpy()
        values = labels[box][sampled]
        labelled = np.bincount(values, probability[values, np.arange(len(values))], minlength=len(names) + 1)
        missing[z] = probability.sum(axis=1) - labelled
    smooth = ndimage.gaussian_filter1d(missing, AROUND_SLICE_MM / slice_mm, axis=0, mode="constant")
    chosen = {}
    for value, name in enumerate(names, 1):
        slices = np.flatnonzero((labels == value).any(axis=(1, 2)))
        if len(slices):
            chosen[name] = int(slices[smooth[slices, value].argmax()])
    return chosen


def _around_organs(plane: npt.NDArray[np.uint8], z: int) -> Box3 | None:
    """The box that holds all organs of a slice, a little wider; None where there is none."""
    rows, columns = (np.flatnonzero((plane > 0).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    y, x = (slice(max(0, int(places[0]) - MARGIN), min(size, int(places[-1]) + 1 + MARGIN))
            for places, size in zip((rows, columns), plane.shape, strict=True))
    return slice(z, z + 1), y, x
