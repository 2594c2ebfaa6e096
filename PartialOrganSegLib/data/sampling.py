"""Which patch comes next: datasets by weight, then organs evenly, then a case that shows the organ, then a place in it.

Draw number n depends on the seed and n alone, so a resumed run sees exactly the patches it would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from .augmentation import Augmentation
from .cache import CachedCase


class PatchSampler(Dataset):
    """Patch number n: `image` (1, z, y, x) float32 normalised and `codes` (z, y, x) uint8, augmented.

    `anywhere` is the share of patches centred on a random voxel instead of an organ.
    """

    def __init__(self, cases: Sequence[CachedCase], augmentation: Augmentation, seed: int, length: int,
                 anywhere: float = 0.1) -> None:
        self.cases, self.augmentation = list(cases), augmentation
        self.seed, self.length, self.anywhere = seed, length, anywhere
        self.by_dataset: dict[str, list[int]] = {}
        for number, cached in enumerate(self.cases):
            if cached.case.weight > 0:
                self.by_dataset.setdefault(cached.case.dataset, []).append(number)
        weights = np.array([self.cases[members[0]].case.weight for members in self.by_dataset.values()])
        self.dataset_share = weights / weights.sum()

    def __len__(self) -> int:
        return self.length

    def draw(self, number: int) -> tuple[int, np.ndarray, np.random.Generator]:
        """Case number, patch centre (z, y, x) and the generator to augment with."""
        generator = np.random.default_rng([self.seed, number])
        members = list(self.by_dataset.values())[generator.choice(len(self.dataset_share), p=self.dataset_share)]
        labels = sorted({label for member in members for label in self.cases[member].positions})
        if not labels or generator.random() < self.anywhere:
            case = int(generator.choice(members))
            return case, generator.integers(0, self.cases[case].image().shape), generator
        label = int(generator.choice(labels))
        case = int(generator.choice([member for member in members if label in self.cases[member].positions]))
        positions = self.cases[case].positions[label]
        return case, positions[generator.integers(len(positions))], generator

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        case, centre, generator = self.draw(number)
        cached = self.cases[case]
        image, codes = self.augmentation(cached.image(), cached.own_codes(), centre, generator)
        return image, torch.from_numpy(cached.translation[codes.numpy()])
