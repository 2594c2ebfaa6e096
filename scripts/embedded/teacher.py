"""The teacher network hk13.onnx (see ../shared/data/README.md) run over a CT: ten of our organs, as labels or as
probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from PartialOrganSegLib.organs import WORD16

CLASSES = {1: "liver", 2: "right_kidney", 3: "spleen", 4: "pancreas", 7: "adrenal", 8: "adrenal", 9: "gallbladder",
           10: "esophagus", 11: "stomach", 12: "duodenum", 13: "left_kidney"}
CLASS_COUNT = 14
SPACING_ZYX, WINDOW = (1.97359, 1.53801, 1.53801), (96, 160, 160)
CLIP, SUBTRACT, DIVIDE = (-971, 291), 83.77856, 144.83893
SMALLEST_COMPONENT = 0.1  # of the organ's largest


def segment(model: Path, hu: np.ndarray) -> np.ndarray:
    """uint8 labels of our numbering for a CT (z, y, x) in LPS at SPACING_ZYX mm; crumbs of organs are dropped."""
    classes = scores(session_of(model), hu).argmax(0)
    labels = np.zeros(hu.shape, np.uint8)
    for value, organ in CLASSES.items():
        components, count = ndimage.label(classes == value)
        if count:
            sizes = np.bincount(components.ravel())
            sizes[0] = 0
            labels[np.isin(components, np.flatnonzero(sizes > SMALLEST_COMPONENT * sizes.max()))] = WORD16.index(organ)
    return labels


def probabilities(model: Path, hu: np.ndarray, organs: Sequence[str]) -> np.ndarray:
    """(1 + organs, z, y, x) float32 for a CT (z, y, x) in LPS at SPACING_ZYX mm: all else, then the `organs`.

    Classes of the teacher that are one organ of ours count together.
    """
    logits = scores(session_of(model), hu)
    logits -= logits.max(0)
    np.exp(logits, out=logits)
    logits /= logits.sum(0)
    joined = np.zeros((1 + len(organs), *hu.shape), np.float32)
    for value, probability in enumerate(logits):
        organ = CLASSES.get(value)
        place = 0  # all else
        if organ in organs:
            place = 1 + organs.index(organ)
        joined[place] += probability
    return joined


def session_of(model: Path) -> Any:
    """An onnxruntime session of one thread; the scripts run several processes."""
    import onnxruntime  # type: ignore[import-untyped]  # has no types; needed by this one script

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def scores(session: Any, hu: np.ndarray) -> np.ndarray:
    """(14, z, y, x) means of Gaussian-weighted logits over half-overlapping windows; it sees y and z flipped."""
    image = (np.clip(hu, *CLIP).astype(np.float32) - SUBTRACT) / DIVIDE
    image = image[::-1, ::-1]
    padding = [(0, max(0, w - n)) for n, w in zip(image.shape, WINDOW, strict=True)]
    outside = (CLIP[0] - SUBTRACT) / DIVIDE
    wide = np.pad(image, padding, constant_values=outside)
    axes = [np.exp(-0.5 * ((np.arange(w) - (w - 1) / 2) / (w / 8)) ** 2) for w in WINDOW]
    # Gaussian weights: a window's own border is where its network saw least.
    weight = np.maximum(axes[0][:, None, None] * axes[1][:, None] * axes[2], 1e-4).astype(np.float32)
    total_scores = np.zeros((CLASS_COUNT, *wide.shape), np.float32)
    total = np.zeros(wide.shape, np.float32)
    starts = []
    for size, window in zip(wide.shape, WINDOW, strict=True):
        count = 1 + int(np.ceil((size - window) / (window / 2)))
        starts.append(np.unique(np.linspace(0, size - window, count).round().astype(int)))
    name = session.get_inputs()[0].name
    for corner in np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 3):
        box = tuple(slice(c, c + w) for c, w in zip(corner, WINDOW, strict=True))
        logits = session.run(None, {name: np.ascontiguousarray(wide[box])[None, None]})[0][0]
        total_scores[(slice(None), *box)] += logits * weight
        total[box] += weight
    mean = (total_scores / total)[:, : image.shape[0], : image.shape[1], : image.shape[2]]
    return mean[:, ::-1, ::-1]
