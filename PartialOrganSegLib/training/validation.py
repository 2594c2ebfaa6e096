"""Validation: Dice per organ on cases that are not trained on, where their annotation is sure."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ..annotation import UNKNOWN, Kind
from ..datasets.manifest import Manifest
from ..errors import Code, UserError, did_you_mean
from ..evaluation.metrics import candidate_dice, joint_counts
from ..events import Reporter
from ..loading.cache import CachedCase
from ..models.bundle import Preprocessing
from ..organs import LabelSpace
from ..segmenting.scores import best_classes
from ..segmenting.windows import plan, window_scores
from .distributed import Processes
from .frozen_members import Division, FrozenMembers
from .recipe import Recipe

MEAN = "mean"
CONTEXT_SLICES = 12  # that the network sees beyond those that are judged


def validation_groups(recipe: Recipe, manifest: Manifest) -> list[str]:
    """The groups that are validated on: the recipe's, or else the manifest's splits.

    Raises UserError for a group that the manifest does not have.
    """
    settings = recipe.validation
    if settings is None:
        return [group for group in manifest.validation_groups() if group not in recipe.hold_out]
    cases = tuple(case for case in manifest.cases if case.group not in recipe.hold_out)
    known = {case.group for case in cases}
    for group in settings.groups:
        if group not in known:
            raise UserError(code=Code.UNKNOWN_NAME, subject="validation.groups",
                            found=f"no case of group '{group}' in {manifest.path}", hint=did_you_mean(group, known))
    drawn = replace(manifest, cases=cases, validation=settings.share, seed=settings.seed).validation_groups()
    return sorted({*settings.groups, *drawn})


@dataclass
class Best:
    """The best figures so far and how many measurements were not better since; `before` is the start model's.

    `half`: organs that count as much as all others together (a few organs are taught, many are to be kept). With a
    `tolerated_loss`, figures with one of these others more than that below `before` are worse than any without, and so
    are those whose `half` has gained nothing. `retained` organs count as no worse than before: where they are, the
    network that had the say of them keeps it.
    """

    figures: dict[str, float] = field(default_factory=dict)
    stale: int = 0
    before: dict[str, float] = field(default_factory=dict)
    half: tuple[str, ...] = ()
    tolerated_loss: float | None = None
    retained: tuple[str, ...] = ()

    def rank(self, figures: Mapping[str, float]) -> tuple[bool, bool, float]:
        """What figures are compared by: whether nothing speaks against them, whether no loss is beyond what is
        tolerated, and the score."""
        if self.tolerated_loss is None:
            return True, True, self.score(figures)
        changes = {name: self._counted(name, value) - self.before[name] for name, value in figures.items()
                   if name != MEAN and name in self.before}
        lost = any(change < -self.tolerated_loss for name, change in changes.items() if name not in self.half)
        taught = [change for name, change in changes.items() if name in self.half]
        gained = not taught or sum(taught) > 0
        return not lost and gained, not lost, self.score(figures)

    def score(self, figures: Mapping[str, float]) -> float:
        """The mean Dice by which figures are compared; -1 where nothing could be measured."""
        groups: tuple[list[float], list[float]] = ([], [])
        for name, value in figures.items():
            if name != MEAN:
                groups[name in self.half].append(self._counted(name, value))
        means = [sum(group) / len(group) for group in groups if group]
        return sum(means) / len(means) if means else -1.0

    def _counted(self, name: str, value: float) -> float:
        """What an organ's Dice counts as."""
        return max(value, self.before.get(name, value)) if name in self.retained else value

    def take(self, figures: dict[str, float]) -> bool:
        """Whether these figures are the best so far. Those that nothing could be said of never are."""
        better = self.score(figures) >= 0 and (not self.figures or self.rank(figures) > self.rank(self.figures))
        self.stale = 0 if better else self.stale + 1
        if better:
            self.figures = figures
        return better

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"figures": self.figures, "stale": self.stale, "before": self.before}


class Validator:
    """Measures a network on cases at working spacing, each organ where the case vouches for it."""

    def __init__(self, cases: Sequence[CachedCase], table: np.ndarray, label_space: LabelSpace,
                 preprocessing: Preprocessing, device: torch.device, processes: Processes,
                 members: FrozenMembers | None = None) -> None:
        """`members`: those of a joined model beside the network that is measured."""
        self._members = members
        self._cases, self._table, self._space = list(cases), table, label_space
        self._preprocessing, self._device, self._processes = preprocessing, device, processes
        self._air = {code for code, allowed in enumerate(table) if allowed[0] and allowed.sum() == 1}
        self._vouched = [self._organs(cached) for cached in self._cases]
        if not any(self._vouched):
            raise UserError(code=Code.NO_LABELS, subject="validation", expected="cases with a label to compare with",
                            found="none")

    def measure(self, network: nn.Module, weights: Mapping[str, torch.Tensor], reporter: Reporter,
                division: Division | None = None) -> dict[str, float]:
        """Dice of each organ, mean over its cases, and "mean" over the organs, with `weights` in a copy of `network`.

        `division`: of which organs it and the frozen members of a joined model have the say; what is measured is then
        what they find together. Processes share the cases.
        """
        network = copy.deepcopy(network).eval()
        network.load_state_dict(weights)
        shape = (len(self._cases), self._space.class_count)
        values, known = torch.zeros(shape), torch.zeros(shape)
        for number, cached in enumerate(self._cases):
            if number % self._processes.size != self._processes.rank:
                continue
            codes = cached.codes()
            seen = seen_slices(codes, self._air)
            scores = predicted_scores(network, cached.image()[seen], self._preprocessing, self._space.class_count,
                                      self._device)
            if self._members is None or division is None:
                predicted = best_classes(scores)
            else:
                predicted = self._members.combine(cached, seen, scores, division)
            del scores
            voxels = joint_counts(predicted, codes[seen], self._table.shape)
            for organ in self._vouched[number]:
                value, _ = candidate_dice(voxels, self._table, [organ])
                if value is not None:
                    values[number, organ], known[number, organ] = value, 1
            reporter.progress("validation", number + 1, len(self._cases))
        if self._members is not None:
            self._members.release()
        values, known = (self._processes.sum(part.to(self._device)).cpu() for part in (values, known))
        counts = known.sum(0)
        figures = {self._space.names[organ - 1]: float(values[:, organ].sum() / counts[organ])
                   for organ in range(1, shape[1]) if counts[organ]}
        return figures | ({MEAN: sum(figures.values()) / len(figures)} if figures else {})

    def _organs(self, cached: CachedCase) -> list[int]:
        """The organs a case vouches for: all of a full label, the annotated ones of a partial one, what was drawn.

        An organ that the label only names among others (a coarse label) and nowhere for sure is not judged, and no more
        is one where nothing is said to be another: more of it would always be better.
        """
        present = self._table[np.unique(cached.codes())]
        return sorted(organ for organ in self._claimed(cached, present) if not present[:, organ].all())

    def _claimed(self, cached: CachedCase, present: np.ndarray) -> set[int]:
        """The organs that the annotation says something of for sure; `present` are its candidate sets."""
        case, sure = cached.case, set(cached.positions) - {0}
        if case.kind is Kind.SCRIBBLE or case.kind is Kind.UNLABELLED:
            return sure
        annotated = (range(1, self._space.class_count) if case.kind is Kind.FULL
                     else self._space.indices(case.annotated))
        coarse = present[present.sum(1) > 1]
        vague = {organ for organ in annotated if coarse[:, organ].any()}
        return sure | (set(annotated) - vague)


def seen_slices(codes: np.ndarray, air: Collection[int]) -> slice:
    """The axial slices of `codes` (z, y, x) that a network has to see for what is judged in them.

    A slice of which nothing is known but the air round the body (the codes `air`) is not judged: of a left-out slab's
    CT that is most.
    """
    judged = [bool(found - {UNKNOWN} - set(air)) or UNKNOWN not in found
              for found in (set(np.unique(plane).tolist()) for plane in codes)]
    if not any(judged):
        return slice(0, len(codes))
    first, last = judged.index(True), len(judged) - 1 - judged[::-1].index(True)
    return slice(max(0, first - CONTEXT_SLICES), min(len(codes), last + 1 + CONTEXT_SLICES))


def predicted_classes(network: nn.Module, image: np.ndarray, preprocessing: Preprocessing, classes: int,
                      device: torch.device) -> np.ndarray:
    """(z, y, x) uint8 class indices of an `image` (z, y, x) in HU at working spacing, by a network in eval mode."""
    return best_classes(predicted_scores(network, image, preprocessing, classes, device))


@torch.inference_mode()
def predicted_scores(network: nn.Module, image: np.ndarray, preprocessing: Preprocessing, classes: int,
                     device: torch.device) -> torch.Tensor:
    """(z, y, x, class) float16 logits of an `image` (z, y, x) in HU at working spacing, by a network in eval mode.

    In full precision: figures are compared from step to step.
    """
    def forward(window: torch.Tensor) -> torch.Tensor:
        return network(window.to(device))[0].permute(1, 2, 3, 0).cpu()

    volume = preprocessing.normalise(torch.from_numpy(np.array(image, np.float32)))
    layout = plan(tuple(volume.shape), preprocessing.patch_zyx, network.size_multiple, getattr(network, "slices", None))
    return window_scores(volume, preprocessing.padding, layout, classes, forward, Reporter())
