"""First weights of classes that the start model does not have: what tells their voxels apart by the features it has.

A new class begins with the background's weights (`transfer`), and its layer moves as slowly as all others. Where the
features hold the organ already, a logistic regression on them finds it in seconds; the network then need not be bent
for it (linear probing before fine-tuning: Kumar 2022, Fine-tuning can distort pretrained features).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from ..loading.targets import Targets

# Of each patch, and of those inside and outside the class.
MOST_VOXELS = 3000
ITERATIONS = 100
# Of the squared weights: features are about 1 in size, and a class may be parted from all others without an error.
PENALTY = 1e-4


@dataclass
class _Samples:
    """Of a class: features (N, K), the logarithm of the sum of all other classes' exponentials (N,), 1 inside and 0
    outside (N,), and for how many voxels each one stands (N,)."""

    features: list[torch.Tensor] = field(default_factory=list)
    rivals: list[torch.Tensor] = field(default_factory=list)
    inside: list[torch.Tensor] = field(default_factory=list)
    weights: list[torch.Tensor] = field(default_factory=list)

    def add(self, features: torch.Tensor, rivals: torch.Tensor, inside: float) -> None:
        """Adds voxels of one side, or evenly spread ones of them where there are too many."""
        count = len(features)
        step = max(1, -(-count // MOST_VOXELS))
        self.features.append(features[::step])
        self.rivals.append(rivals[::step])
        sampled = len(self.rivals[-1])
        self.inside.append(torch.full((sampled,), inside))
        self.weights.append(torch.full((sampled,), count / max(1, sampled)))

    @property
    def has_both_sides(self) -> bool:
        """Whether there is anything to tell apart."""
        sides = torch.cat(self.inside) if self.inside else torch.zeros(0)
        return bool((sides == 1).any() and (sides == 0).any())


def fit_new_classes(network: nn.Module, classes: Sequence[int], layer_names: Iterable[str],
                    patches: Iterable[Targets], precision: Callable[[], contextlib.AbstractContextManager[object]],
                    device: torch.device) -> list[int]:
    """Gives `classes` of a network their weights in the layer that makes its logits; those for which it was possible.

    `layer_names`: the network's parameters that grow with the number of classes. `patches`: of the training cases, with
    images. Only a layer of 1 x 1 x 1 convolutions is understood, as all our networks but those that join several have.
    All other weights stay as they are.
    """
    layers = logit_layers(network, layer_names)
    samples = {label: _Samples() for label in classes}
    was_training = network.training
    used_layer: nn.Module | None = None
    network.eval()
    try:
        for targets in patches:
            used_layer, logits, features = with_features(network, layers, targets.to(device), precision)
            if used_layer is None:
                return []
            _collect(samples, targets, logits, features)
    finally:
        network.train(was_training)
    fitted = []
    for label, of_class in samples.items():
        if used_layer is not None and of_class.has_both_sides:
            _fit(used_layer, label, of_class)
            fitted.append(label)
    return fitted


def logit_layers(network: nn.Module, layer_names: Iterable[str]) -> list[nn.Module]:
    """Convolutions of one voxel that give a logit for each class."""
    owners = {name.rpartition(".")[0] for name in layer_names}
    layers = []
    for name, module in network.named_modules():
        weight = getattr(module, "weight", None)
        has_bias = getattr(module, "bias", None) is not None
        if name in owners and has_bias and weight is not None and weight.ndim == 5 and weight[0, 0].numel() == 1:
            layers.append(module)
    return layers


@torch.no_grad()
def with_features(network: nn.Module, layers: Sequence[nn.Module], targets: Targets,
                   precision: Callable[[], contextlib.AbstractContextManager[object]]
                   ) -> tuple[nn.Module | None, torch.Tensor, torch.Tensor]:
    """The layer that made the logits, (voxels, C) logits and (voxels, K) features before it; None where a network does
    more with its logits than to turn and move them."""
    called: list[nn.Module] = []

    def append_features(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        called.append(module)
        # What follows turns and flips the axes of space: features go the same way as logits.
        return torch.cat([output, inputs[0]], 1)

    handles = [layer.register_forward_hook(append_features) for layer in layers]
    nothing = torch.zeros(0, 0)
    assert targets.image is not None
    try:
        with precision():
            output = network(targets.image.contiguous(memory_format=torch.channels_last_3d))
    finally:
        for handle in handles:
            handle.remove()
    if len(called) != 1 or not isinstance(output, torch.Tensor):
        return None, nothing, nothing
    classes, channels = called[0].get_parameter("weight").shape[:2]
    if output.shape[1] != classes + channels or output.shape[2:] != targets.candidate_map.shape[1:]:
        return None, nothing, nothing
    rows = output.movedim(1, -1).flatten(0, -2).float().cpu()
    return called[0], rows[:, :classes], rows[:, classes:]


def _collect(samples: dict[int, _Samples], targets: Targets, logits: torch.Tensor, features: torch.Tensor) -> None:
    """Adds the voxels of which the annotation says whether they are of a class."""
    codes = targets.candidate_map.flatten().long()
    sets = targets.candidate_sets
    for label, of_class in samples.items():
        start_classes = [number for number in range(logits.shape[1]) if number not in samples]
        is_certain = sets[:, label] & (sets.sum(1) == 1)
        for decides, inside in ((is_certain, 1.0), (~sets[:, label], 0.0)):
            voxels = torch.nonzero(decides[codes]).squeeze(1)
            if len(voxels):
                of_class.add(features[voxels], torch.logsumexp(logits[voxels][:, start_classes], 1), inside)


def _fit(layer: nn.Module, label: int, samples: _Samples) -> None:
    """Logistic regression of "this class or another" on the features, the other classes' logits as they are."""
    features, rivals, inside, weights = (torch.cat(part).double() for part in (
        samples.features, samples.rivals, samples.inside, samples.weights))
    # Half of the logarithm of how rare the class is counts: with all of it a class that the features know by halves is
    # found nowhere, and overlap has no slope there; without it, all over the body.
    for side in (inside == 1, inside == 0):
        weights[side] /= weights[side].sum() ** 0.5
    weights = weights / weights.sum()
    scale = features.std(0).clamp_min(1e-3)
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    slopes = (weight[label].detach().flatten().double().cpu() * scale).requires_grad_(True)
    offset = bias[label].detach().double().cpu().reshape(1).requires_grad_(True)
    optimiser = torch.optim.LBFGS([slopes, offset], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        margin = features / scale @ slopes + offset - rivals
        value = (weights * F.binary_cross_entropy_with_logits(margin, inside, reduction="none")).sum()
        value = value + PENALTY * (slopes ** 2).mean()
        value.backward()
        return value

    optimiser.step(loss)
    with torch.no_grad():
        weight[label] = (slopes / scale).to(weight).reshape(weight[label].shape)
        bias[label] = offset[0].to(bias)
