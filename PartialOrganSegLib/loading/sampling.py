"""Which patch comes next: a dataset, then organs evenly, then a case that shows the organ, then a place in it.

Draw number n depends on the seed and n alone, so a resumed run sees exactly the patches it would have seen, and several
processes that share the numbers among them see those that one would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from ..annotation import OUTSIDE, UNKNOWN, Kind
from ..errors import Code, UserError
from .augmentation import Augmentation
from .cache import CachedCase
from .targets import SoftMap, Targets


def as_unlabelled(cached: CachedCase) -> CachedCase:
    """A case whose annotation is not looked at: every voxel may be anything."""
    translation = np.full_like(cached.translation, UNKNOWN)
    translation[OUTSIDE] = OUTSIDE
    return replace(cached, case=replace(cached.case, kind=Kind.UNLABELLED), translation=translation, positions={})


def deals_full(number: int, share: float) -> bool:
    """Whether draw `number` is of a fully labelled case, where these are to have this `share`."""
    # Evenly spread: one more full draw whenever the number that is due grows by one.
    return math.floor((number + 1) * share + 1e-9) > math.floor(number * share + 1e-9)


class PatchSampler(Dataset[tuple[Targets, int]]):
    """Patch number n: `Targets` of a batch of one augmented patch, the image in them, and n.

    `datasets`: "weight" draws them by the manifest's weights, "equal" equally often (Shi 2021, section 4.2),
    "alternate" takes a whole mini-batch from one and the next from the next (Fang 2020, section III.C).
    `full_share` is the share of fully labelled cases in a mini-batch, exact where `batch` allows it (Zhou 2019, section
    4.1: 3 of 4). `anywhere` is the share of patches centred on a random voxel instead of an organ; the first
    `foreground` of every mini-batch always lie in an organ, where there is a labelled one. `background`: whether that
    counts as an organ to centre on; where masks are partial, what is known to be background is the air round the body.
    `batch`: patches of a mini-batch over all processes. Raises UserError when a share or alternation has nothing to
    draw from.
    """

    def __init__(self, cases: Sequence[CachedCase], augmentation: Augmentation, seed: int, length: int,
                 anywhere: float = 0.1, datasets: str = "weight", full_share: float | None = None,
                 foreground: int = 0, batch: int = 1, background: bool = True) -> None:
        self.cases, self.augmentation, self.background = list(cases), augmentation, background
        self.seed, self.length, self.anywhere = seed, length, anywhere
        self.datasets, self.full_share, self.foreground, self.batch = datasets, full_share, foreground, batch
        drawable = [number for number, cached in enumerate(self.cases) if cached.case.weight > 0]
        self._datasets = self._by_dataset(drawable)
        if full_share is not None:
            self._full = self._by_dataset([number for number in drawable if self.cases[number].fully_labelled])
            self._partial = self._by_dataset([number for number in drawable if not self.cases[number].fully_labelled])
            lacking = {"others": self._full, "fully labelled ones": self._partial}
            for only, groups in lacking.items():
                if not groups:
                    raise UserError(code=Code.NO_CASES, subject="sampling.full_share",
                                    expected="fully labelled cases and others to draw from", found=f"only {only}")

    def _by_dataset(self, numbers: Sequence[int]) -> list[list[int]]:
        groups: dict[str, list[int]] = {}
        for number in numbers:
            groups.setdefault(self.cases[number].case.dataset, []).append(number)
        return list(groups.values())

    def __len__(self) -> int:
        return self.length

    def draw(self, number: int) -> tuple[int, npt.NDArray[np.int64], np.random.Generator]:
        """Case number, patch centre (z, y, x) and the generator to augment with."""
        generator = np.random.default_rng([self.seed, number])
        members = self._members(number, generator)
        certain: set[int] = set()
        for member in members:
            certain.update(self.cases[member].positions)
        labels = sorted(certain)
        if not self.background:
            labels = [label for label in labels if label]
        anywhere = not labels or generator.random() < self.anywhere
        if number % self.batch < self.foreground and any(labels):
            anywhere, labels = False, [label for label in labels if label]
        if anywhere:
            case = int(generator.choice(members))
            return case, generator.integers(0, self.cases[case].image().shape), generator
        # An organ first, then a case: small and rare organs come as often as large and common ones.
        label = int(generator.choice(labels))
        case = int(generator.choice([member for member in members if label in self.cases[member].positions]))
        positions = self.cases[case].positions[label]
        place: npt.NDArray[np.int64] = positions[generator.integers(len(positions))]
        return case, place, generator

    def _members(self, number: int, generator: np.random.Generator) -> list[int]:
        """The cases of the dataset that draw `number` is from."""
        groups = self._datasets
        if self.full_share is not None:
            groups = self._full if deals_full(number, self.full_share) else self._partial
        if self.datasets == "alternate":
            return groups[number // self.batch % len(groups)]
        weights = np.ones(len(groups))
        if self.datasets == "weight":
            weights = np.array([self.cases[members[0]].case.weight for members in groups])
        return groups[generator.choice(len(groups), p=weights / weights.sum())]

    def __getitem__(self, number: int) -> tuple[Targets, int]:
        case, centre, generator = self.draw(number)
        cached = self.cases[case]
        candidate_sets = torch.from_numpy(cached.table.table)
        targets = cached.soft_targets
        probabilities = None if targets is None else targets.probabilities()
        image, codes, soft = self.augmentation(cached.image(), cached.case_map(), centre, generator, probabilities)
        soft_map = None
        if targets is not None and soft is not None:
            # Every case of the run gets room for all sets, so that patches of several make a batch.
            room = torch.zeros((1, len(targets.sets), *soft.shape[1:]), dtype=soft.dtype)
            room[0, list(targets.rows)] = soft
            soft_map = SoftMap(room, targets.members(candidate_sets.shape[1]))
        candidate_map = torch.from_numpy(cached.translation[codes.numpy()])[None]
        fully_labelled = torch.tensor([cached.fully_labelled])
        return Targets(candidate_map, candidate_sets, image[None], soft=soft_map, fully_labelled=fully_labelled), number

    def describe_case(self, number: int) -> str:
        """The case of a draw."""
        return self.cases[self.draw(number)[0]].case.name

    def describe(self, number: int) -> str:
        """The case and patch centre (z, y, x) of a draw, to be told to a person."""
        case, centre, _ = self.draw(number)
        return f"{self.cases[case].case.name} at {tuple(int(c) for c in centre)}"
