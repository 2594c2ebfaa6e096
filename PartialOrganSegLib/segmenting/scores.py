"""What merged scores say: the best class of each voxel, and how sure an organ is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def best_classes(scores: torch.Tensor) -> np.ndarray:
    """uint8 (z, y, x): class with the highest of `scores` (z, y, x, class)."""
    labels = np.empty(scores.shape[:3], np.uint8)
    for z in range(len(labels)):  # argmax gives int64, eight times what is kept
        labels[z] = scores[z].float().max(-1).indices
    return labels


def mean_entropy(scores: torch.Tensor, labels: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Mean entropy in nats of the softmax over each found organ's voxels at working spacing."""
    total, count = np.zeros(len(names) + 1), np.zeros(len(names) + 1)
    for z in range(len(labels)):
        found = labels[z] > 0
        if not found.any():
            continue
        logarithm = torch.log_softmax(scores[z][torch.from_numpy(found)].float(), dim=-1)
        entropy = -(logarithm.exp() * logarithm).sum(-1).numpy()
        total += np.bincount(labels[z][found], entropy, minlength=len(total))
        count += np.bincount(labels[z][found], minlength=len(total))
    return {name: float(total[i] / count[i]) for i, name in enumerate(names, 1) if count[i]}
