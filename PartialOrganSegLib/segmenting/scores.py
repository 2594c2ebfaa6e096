"""What merged scores say: the best class of each voxel, and how sure an organ is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from ..imaging.shapes import LabelMap, Mask


def best_classes(scores: torch.Tensor, decided: Mask | None = None) -> npt.NDArray[np.uint8]:
    """uint8 (z, y, x): class with the highest of `scores` (z, y, x, class); the first of several.

    `decided`: bool (z, y, x), beyond which all voxels are background.
    """
    labels = np.zeros(scores.shape[:3], np.uint8)
    for z, plane in enumerate(scores):  # argmax gives int64, eight times what is kept
        if decided is None:
            # With the classes first: over a last axis as short as this the maximum takes many times as long.
            labels[z] = plane.permute(2, 0, 1).float().contiguous().max(0).indices
        elif decided[z].any():
            labels[z][decided[z]] = plane[torch.from_numpy(decided[z])].float().max(1).indices
    return labels


def mean_entropy(scores: torch.Tensor, labels: LabelMap, names: Sequence[str]) -> dict[str, float]:
    """Mean entropy in nats of the softmax over each found organ's voxels at working spacing."""
    # A slice at a time: float32 of a whole CT would be twice the scores.
    total, count = np.zeros(len(names) + 1), np.zeros(len(names) + 1)
    for z in range(len(labels)):
        in_organ = labels[z] > 0
        if not in_organ.any():
            continue
        logarithm = torch.log_softmax(scores[z][torch.from_numpy(in_organ)].float(), dim=-1)
        entropy = -(logarithm.exp() * logarithm).sum(-1).numpy()
        total += np.bincount(labels[z][in_organ], entropy, minlength=len(total))
        count += np.bincount(labels[z][in_organ], minlength=len(total))
    return {name: float(total[i] / count[i]) for i, name in enumerate(names, 1) if count[i]}
