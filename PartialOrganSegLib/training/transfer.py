"""A start model of another label space: shared classes keep all their weights, new ones begin as rare background."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from ..networks import build_network
from ..organs import LabelSpace

# Of the background's probability, what each new class starts with. Cermelli 2020 (equation 10) splits it evenly, which
# at once lets shared organs win every voxel on their outline; with this share no decision changes.
NEW_SHARE = 0.01
# All new classes together have at most this: of a hundred with `NEW_SHARE` each nothing would be left.
ALL_NEW_SHARE = 0.2


@dataclass(frozen=True)
class ClassMap:
    """From the classes of a start model to those of a run, by name.

    `source[c]`: the start model's class that class c of the run was, None for a new one; `dropped`: the start model's
    classes that the run does not have. Both sides have the background, class 0.
    """

    source: tuple[int | None, ...]
    dropped: tuple[int, ...]

    @classmethod
    def between(cls, start: LabelSpace, run: LabelSpace) -> ClassMap:
        """The map from `start` to `run`."""
        start_labels = {organ.name: organ.index for organ in start.organs}
        dropped = tuple(organ.index for organ in start.organs if organ.name not in run.names)
        return cls((0, *(start_labels.get(name) for name in run.names)), dropped)

    @property
    def new(self) -> tuple[int, ...]:
        """The run's classes that the start model does not have."""
        return tuple(label for label, start_label in enumerate(self.source) if start_label is None)

    @property
    def new_share(self) -> float:
        """Of the background's probability, what each of the new classes starts with."""
        return min(NEW_SHARE, ALL_NEW_SHARE / max(1, len(self.new)))

    @property
    def identical(self) -> bool:
        """Whether both have the same classes in the same order."""
        return not self.dropped and self.source == tuple(range(len(self.source)))


def moved_weights(weights: Mapping[str, torch.Tensor], network_name: str, arguments: Mapping[str, object],
                  start_classes: int, classes: ClassMap) -> dict[str, torch.Tensor]:
    """The start model's weights for a network of the run's classes.

    A new class begins with the background's weights and a small share of its probability. What the model knew of a
    dropped class is lost; its voxels go to whatever it held next likely.
    """
    axes = class_axes(network_name, arguments, start_classes)
    sources = torch.tensor([0 if label is None else label for label in classes.source])
    moved = {}
    for name, value in weights.items():
        value = value.clone()
        for axis in axes[name]:
            value = value.index_select(axis, sources)
        # The bias of the layer that gives the logits: that of a norm, whose weight has one axis, is none of these.
        weight = weights.get(name.removesuffix("bias") + "weight")
        if axes[name] and name.endswith("bias") and weight is not None and weight.ndim > 1:
            value[list(classes.new)] += math.log(classes.new_share)
            value[0] += math.log1p(-classes.new_share * len(classes.new))
        moved[name] = value
    return moved


def moved_arguments(arguments: Mapping[str, object], classes: ClassMap) -> dict[str, object]:
    """The start model's network arguments for the run's classes.

    Of an imported model, classes that count as one of the start model's count as the same organ in the run, or as
    background where the run does not have it.
    """
    if "more" not in arguments:
        return dict(arguments)
    run_labels = {start_label: label for label, start_label in enumerate(classes.source) if start_label is not None}
    counted_as = cast(Sequence[int], arguments["more"])
    return {**arguments, "more": [run_labels.get(label, 0) for label in counted_as]}


def class_axes(network_name: str, arguments: Mapping[str, object], classes: int) -> dict[str, list[int]]:
    """The axes of each tensor of a network's state that grow with the number of classes."""
    # Networks on the device "meta" have shapes and no memory.
    with torch.device("meta"):
        state = build_network(network_name, 1, classes, **arguments).state_dict()
        grown = build_network(network_name, 1, classes + 1, **arguments).state_dict()
    axes = {}
    for name, value in state.items():
        sizes = zip(value.shape, grown[name].shape, strict=True)
        axes[name] = [axis for axis, (size, grown_size) in enumerate(sizes) if size != grown_size]
    return axes


class MappedTeacher(nn.Module):
    """The start model as a teacher in the run's label space: (B, 1, z, y, x) to logits (B, classes, z, y, x).

    Exact: the probabilities of dropped classes go to the background. What it calls background may be a new class too;
    each has the same small share of it, and `losses.Distillation(new_classes=...)` takes them together again.
    """

    def __init__(self, network: nn.Module, classes: ClassMap) -> None:
        super().__init__()
        self.network, self.classes = network, classes

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits, classes = self.network(image), self.classes
        # The logarithm of the sum of probabilities, up to a constant that no softmax sees.
        background = torch.logsumexp(logits[:, [0, *classes.dropped]].float(), 1, keepdim=True).to(logits.dtype)
        of_classes = [background + math.log1p(-classes.new_share * len(classes.new))]
        for start_label in classes.source[1:]:
            if start_label is None:
                of_classes.append(background + math.log(classes.new_share))
            else:
                of_classes.append(logits[:, start_label:start_label + 1])
        return torch.cat(of_classes, 1)
