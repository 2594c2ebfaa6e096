"""Small batches for the tests of losses, and what their formulas start from, in numpy with float64."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from PartialOrganSegLib.annotation import OUTSIDE
from PartialOrganSegLib.losses import SoftMap, Targets


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over axis 1, float64."""
    logits = np.asarray(logits, np.float64)
    # Without the largest logit exp(1e4) would be infinite.
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def all_rows(logits: np.ndarray, codes: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, C) probabilities, (N, C) candidate sets and (N,) image numbers of all voxels."""
    probabilities = np.moveaxis(softmax(logits), 1, -1).reshape(-1, logits.shape[1])
    return probabilities, table[codes.ravel()], np.repeat(np.arange(len(logits)), codes[0].size)


def voxel_rows(logits: np.ndarray, codes: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`all_rows` of the voxels that exclude some class."""
    probabilities, sets, images = all_rows(logits, codes, table)
    labelled = ~sets.all(1)
    return probabilities[labelled], sets[labelled], images[labelled]


def table_of(classes: int, *sets: set[int]) -> np.ndarray:
    """Row 0 is the whole label space."""
    table = np.zeros((len(sets) + 1, classes), bool)
    table[0] = True
    for row, candidates in enumerate(sets, 1):
        table[row, list(candidates)] = True
    return table


SOFT_SETS = table_of(5, {1}, {3}, {0, 2, 4})[1:]  # a teacher's classes: two organs, and all else


class LossBatch(NamedTuple):
    """What a loss is called with: `loss(*batch(...))`."""

    logits: torch.Tensor
    targets: Targets


def batch(logits, codes, table, dtype=torch.float32, grad=False, **further) -> LossBatch:
    """Arrays as a loss takes them; `further` as for `targets_of`."""
    tensor = torch.tensor(np.asarray(logits), dtype=dtype, requires_grad=grad)
    return LossBatch(tensor, targets_of(codes, table, dtype, **further))


def targets_of(codes, table, dtype=torch.float32, voxels_per_set=0, image=None, teacher=None, soft=None, sets=None,
               fully_labelled=None, outside=None) -> Targets:
    """`Targets` of arrays; `soft` are the soft targets of the sets of classes `sets`.

    `table` is without a row for what lies outside the image, so formulas need not know of it; `outside` (B, *spatial)
    bool says which voxels do.
    """
    codes = np.asarray(codes, np.uint8)
    candidate_map = np.where(codes >= OUTSIDE, codes + 1, codes)
    if outside is not None:
        candidate_map = np.where(outside, OUTSIDE, candidate_map)
    candidate_sets = np.insert(np.asarray(table), OUTSIDE, True, axis=0)
    soft_map = None
    if soft is not None:
        soft_map = SoftMap(torch.from_numpy(soft), torch.from_numpy(np.asarray(sets)))
    return Targets(
        torch.from_numpy(candidate_map.astype(np.uint8)), torch.from_numpy(candidate_sets), _tensor(image, dtype),
        _tensor(teacher, dtype), soft_map, _tensor(fully_labelled), voxels_per_set)


def _tensor(array, dtype=None) -> torch.Tensor | None:
    return None if array is None else torch.tensor(np.asarray(array), dtype=dtype)


def random_case(seed: int, table: np.ndarray, shape=(2, 3, 4, 5), scale=2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (B, C, *spatial) float32 and codes `shape` = (B, *spatial) in which every code occurs."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, scale, (shape[0], table.shape[1], *shape[1:]))
    codes = generator.integers(0, len(table), shape).astype(np.uint8)
    # A small random array may lack a code, and its part of a formula would not be tested.
    codes.flat[:len(table)] = np.arange(len(table))
    return logits.astype(np.float32), codes


def random_image(seed: int, codes: np.ndarray, channels: int = 1) -> np.ndarray:
    """(B, channels, *spatial) normalised intensities."""
    return np.random.default_rng(seed).normal(0.3, 1, (len(codes), channels, *codes.shape[1:])).astype(np.float32)


def random_soft(seed: int, codes: np.ndarray, sets: np.ndarray = SOFT_SETS) -> np.ndarray:
    """(B, M, *spatial) uint8 soft targets of the `sets`; every third voxel or so has none."""
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.full(len(sets), 0.5), codes.shape) * (generator.random((*codes.shape, 1)) > 0.3)
    return np.rint(np.moveaxis(shares, -1, 1) * 255).astype(np.uint8)


PARTITION = table_of(5, {1}, {3}, {0, 2, 4})
OVERLAPPING = table_of(5, {1}, {1, 2}, {0}, {0, 3}, {2, 3, 4}, {4})
SINGLETONS = table_of(5, *({c} for c in range(5)))
