"""How sure a class has to be: a shift of its logit, read off the training cases, so that it is not called too often.

A balanced cross entropy counts the background less than there is of it, and an overlap that is not within reach is
largest where too much is called the class. Both make a new class too large, on the cases that it is learnt from too:
there the shift is read off that gives the best Dice (a prior correction, King and Zeng 2001, by measuring instead of
by the sampling rates).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from ..loading.targets import Targets
from .new_classes import logit_layers, with_features

# Of logits, ascending.
SHIFTS = torch.arange(-6.0, 3.01, 0.25)


@dataclass(frozen=True)
class ClassShifts:
    """What is added to each class's entry of the parameter `bias`."""

    bias: str
    of_class: Mapping[int, float]

    def added(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A copy of a network's weights with the shifts."""
        shifted = dict(weights)
        shifted[self.bias] = weights[self.bias].clone()
        for label, shift in self.of_class.items():
            shifted[self.bias][label] += shift
        return shifted


@dataclass
class _Counts:
    """Of a class in a case: how many voxels it has, and how many of them and of all voxels are called it at each of
    `SHIFTS`."""

    size: float = 0.0
    hits: torch.Tensor = field(default_factory=lambda: torch.zeros(len(SHIFTS)))
    called: torch.Tensor = field(default_factory=lambda: torch.zeros(len(SHIFTS)))

    def add(self, inside: torch.Tensor, outside: torch.Tensor) -> None:
        """Adds voxels by their margins, the logit over its rivals."""
        self.size += len(inside)
        hits = _counts_above(inside)
        self.hits += hits
        self.called += hits + _counts_above(outside)


def _counts_above(margins: torch.Tensor) -> torch.Tensor:
    """(S,) how many `margins` are above 0 with each of `SHIFTS`."""
    # The first shift with which a margin is above 0; all larger ones are, too.
    first = torch.bucketize(-margins.contiguous(), SHIFTS, right=True)
    return torch.bincount(first, minlength=len(SHIFTS) + 1)[:-1].cumsum(0).float()


@torch.no_grad()
def fit_shifts(network: nn.Module, classes: Sequence[int], layer_names: Iterable[str],
               patches: Iterable[tuple[int, Targets]],
               precision: Callable[[], contextlib.AbstractContextManager[object]], device: torch.device,
               joined: bool) -> ClassShifts | None:
    """The shift of each of `classes` with the best mean Dice over the cases; None where there is none to be made.

    `patches`: numbers of cases and masks of them, with images, not augmented. `layer_names` as in `fit_new_classes`.
    `joined`: the network answers for the new classes alone, which then compete with all others together.
    """
    layers = logit_layers(network, layer_names)
    counts: dict[int, dict[int, _Counts]] = {label: {} for label in classes}
    used_layer: nn.Module | None = None
    network.eval()
    for case, targets in patches:
        used_layer, logits, _ = with_features(network, layers, targets.to(device), precision)
        if used_layer is None:
            return None
        codes, sets = targets.candidate_map.flatten().long().cpu(), targets.candidate_sets.cpu()
        for label, of_case in counts.items():
            margins = logits[:, label] - _rivals(logits, label, classes, joined)
            is_certain = sets[:, label] & (sets.sum(1) == 1)
            of_case.setdefault(case, _Counts()).add(margins[is_certain[codes]], margins[~sets[:, label][codes]])
    names = [name for name, module in network.named_modules() if module is used_layer]
    of_class = {label: shift for label, of_case in counts.items() if (shift := _best_shift(list(of_case.values())))}
    if not of_class:
        return None
    return ClassShifts(f"{names[0]}.bias", of_class)


def _rivals(logits: torch.Tensor, label: int, classes: Sequence[int], joined: bool) -> torch.Tensor:
    """(voxels,) the logit that a class has to exceed."""
    if not joined:
        others = [number for number in range(logits.shape[1]) if number != label]
        return logits[:, others].amax(1)
    return torch.logsumexp(logits[:, [number for number in range(logits.shape[1]) if number not in classes]], 1)


def _best_shift(cases: Sequence[_Counts]) -> float:
    """That of the best mean Dice over the cases that show the class; 0 where none is better than none."""
    values = [2 * case.hits / (case.size + case.called) for case in cases if case.size]
    if not values:
        return 0.0
    dice = torch.stack(values).mean(0)
    unshifted = int(torch.argmin(SHIFTS.abs()))
    best = int(torch.argmax(dice))
    if dice[best] <= dice[unshifted]:
        return 0.0
    return float(SHIFTS[best])
