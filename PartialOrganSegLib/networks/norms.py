"""Instance norm that keeps channels-last memory and accepts a single voxel."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class InstanceNorm(nn.Module):
    """Instance norm with weights, of volumes one by one as a batch norm of one: that keeps channels-last memory, which
    PyTorch's own does not, and is about twice as fast in training on a CPU. Slices come by the dozen: PyTorch's suits.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, *spatial) to the same shape, mean 0 and variance 1 per image and channel before the weights."""
        # One voxel has no variance; its norm is 0. The product keeps the graph.
        if x[0, 0].numel() == 1:
            return x * 0 + self.bias.view(1, -1, *[1] * (x.ndim - 2))
        if x.ndim == 4:
            return F.instance_norm(x, weight=self.weight, bias=self.bias)
        images = [F.batch_norm(image, None, None, self.weight, self.bias, training=True) for image in x.split(1)]
        if len(images) == 1:
            return images[0]  # torch.cat of one would copy it
        return torch.cat(images)


def replace_instance_norms(network: Network) -> Network:
    """`network` with PyTorch's weighted instance norms replaced by ours, in place; parameter names stay.

    A bottleneck of one voxel, which a small window has, is an error to PyTorch's.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, (nn.InstanceNorm2d, nn.InstanceNorm3d)) and child.affine:
                setattr(module, name, InstanceNorm(child.num_features))
    return network
