"""Batch norm folded into the convolution before it: the same function with a pass less over every activation."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.hooks import RemovableHandle

from ..imaging.shapes import Shape3

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def fold_batch_norm(network: nn.Module, size: Shape3) -> nn.Module:
    """An eval-mode network with its convolution-batch norm pairs, 2D and 3D, merged; `network` itself where that
    changes its results.

    Pairs are found by running a random input (1, 1, *size) on the network's device: a norm whose input is the very
    tensor a convolution gave. A network that also uses that tensor elsewhere gives other results once folded, and is
    left as it is.
    """
    if not any(isinstance(module, NORMS) for module in network.modules()):
        return network  # nothing to fold: the trial would take as long as reading the weights
    data = torch.randn(1, 1, *size, device=next(iter(network.parameters()), torch.empty(0)).device)
    folded = copy.deepcopy(network)
    pairs = _pairs(folded, data)
    if not pairs:
        return network
    for conv_name, norm_name in pairs:
        conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
        assert isinstance(conv, CONVOLUTIONS)
        assert isinstance(norm, NORMS)
        _replace(folded, conv_name, fuse_conv_bn_eval(conv, norm))
        _replace(folded, norm_name, nn.Identity())
    before, after = network(data), folded(data)
    # Hooks see modules alone: what the network does with a tensor between two of them shows only in its results.
    if torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(before.abs().max())):
        return folded
    return network


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


def _pairs(network: nn.Module, data: torch.Tensor) -> list[tuple[str, str]]:
    """Names of convolutions and of the batch norms fed by them, each by one and at every call of a shared one."""
    convolution_of: dict[int, str] = {}  # id of a tensor -> the convolution that gave it
    alive: list[torch.Tensor] = []  # an id means nothing once its tensor is gone
    calls: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()

    def watch(name: str, module: nn.Module) -> RemovableHandle:  # the hook needs the module's name
        def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if isinstance(module, CONVOLUTIONS):
                alive.append(output)
                convolution_of[id(output)] = name
            elif id(inputs[0]) in convolution_of:
                pairs[convolution_of[id(inputs[0])], name] += 1
            calls[name] += 1
        return module.register_forward_hook(hook)

    handles = [watch(name, module) for name, module in network.named_modules()
               if isinstance(module, (*CONVOLUTIONS, *NORMS))]
    network(data)
    for handle in handles:
        handle.remove()
    exclusive = []
    for (conv_name, norm_name), count in pairs.items():
        if calls[conv_name] == calls[norm_name] == count:
            exclusive.append((conv_name, norm_name))
    return exclusive
