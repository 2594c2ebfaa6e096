"""A 2D network as a network of volumes, slice by slice: with its neighbours as channels (2.5D) or alone (2D)."""

from __future__ import annotations

import torch
from torch import nn

from .base import Logits, SegmentationNetwork, size_multiple_of

# Pixels that pass through the network at once in eval mode: a slice of 512 x 512. In training the whole patch does.
CHUNK_PIXELS = 2**18


class SliceWise(SegmentationNetwork):
    """Applies a 2D network to every axial slice of a patch.

    `network` maps (N, in_channels * slices, y, x) to logits (N, classes, y, x); its channel `c * slices + k` is slice
    k - slices // 2 from the predicted one in input channel c. `slices` is odd: 1 is 2D, 3 is 2.5D as in PIPO-FAN (Fang
    2020, III.A). `network.size_multiple` is (y, x).
    """

    slices: int

    def __init__(self, network: nn.Module, slices: int = 1) -> None:
        super().__init__()
        if not isinstance(slices, int) or slices < 1 or slices % 2 == 0:
            raise ValueError(f"slices must be an odd number from 1, not {slices}")
        self.network = network
        self.slices = slices
        self.size_multiple = (1, *size_multiple_of(network))

    @property
    def outputs(self) -> int:
        """As many as the 2D network has."""
        if isinstance(self.network, SegmentationNetwork):
            return self.network.outputs
        return 1

    def forward(self, image: torch.Tensor) -> Logits:
        """(B, in_channels, z, y, x) to logits (B, classes, z, y, x) in eval mode, edge slices repeated at the ends.

        In train mode slices without real neighbours are not predicted: logits have z - slices + 1 slices, and come as
        the 2D network gives them, one tensor or a list of scales. Raises ValueError when none is left, or for a
        size (y, x) that does not suit the 2D network.
        """
        depth = image.shape[2]
        offsets = torch.arange(self.slices, device=image.device) - self.slices // 2
        centres = torch.arange(depth, device=image.device)
        if not self.training:
            # A whole CT at once would need as much memory as hundreds of slices' features do.
            chunk = max(1, CHUNK_PIXELS // (image.shape[0] * image.shape[3] * image.shape[4]))
            neighbours = (centres[:, None] + offsets).clamp(0, depth - 1)
            parts = []
            for part in neighbours.split(chunk):
                parts.extend(self._predict(image, part))  # in eval mode a single output
            return torch.cat(parts, dim=2)
        if depth < self.slices:
            raise ValueError(f"training needs a patch of at least {self.slices} slices (z), found {depth}")
        margin = self.slices // 2
        logits = self._predict(image, centres[margin:depth - margin, None] + offsets)
        return logits[0] if len(logits) == 1 else logits

    def _predict(self, image: torch.Tensor, neighbours: torch.Tensor) -> list[torch.Tensor]:
        """Each output's logits of the slices whose `neighbours` (count, slices) are given, as indices along z."""
        batch, count = image.shape[0], neighbours.shape[0]
        stack = image[:, :, neighbours]  # (B, in_channels, count, slices, y, x)
        logits = self.network(stack.transpose(1, 2).flatten(2, 3).flatten(0, 1))
        if isinstance(logits, torch.Tensor):
            logits = [logits]
        return [scale.unflatten(0, (batch, count)).transpose(1, 2) for scale in logits]
