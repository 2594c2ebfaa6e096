"""The 2D Dense U-Net (Li 2018), which PIPO-FAN is compared with, on MONAI's DenseNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .base import SegmentationNetwork
from .sizes import check_sizes

DENSENET_169 = (6, 12, 32, 32)


class DenseUNet2D(SegmentationNetwork):
    """U-Net whose encoder is a DenseNet (H-DenseUNet, Li et al., IEEE TMI 2018, its 2D part).

    Input (B, in_channels, y, x), logits (B, classes, y, x). Sizes must be multiples of `size_multiple`. `blocks`: the
    layers of each dense block, DenseNet-169's as Fang 2020 has it (section IV.D); `growth`: channels that a layer adds;
    `features`: those of the first convolution. Weights start at random.

    The decoder enlarges five times. An encoder's features are added to what was enlarged to their size, at first
    through a 1 x 1 convolution; then come a 3 x 3 convolution, batch norm and ReLU. Its channels are those of the
    features that are added next, as in Li's table 1 for DenseNet-161, and `features` at the end.
    """

    def __init__(self, in_channels: int = 3, classes: int = 2, blocks: Sequence[int] = DENSENET_169, growth: int = 32,
                 features: int = 64) -> None:
        """Raises ValueError for a number of blocks below two."""
        from monai.networks.nets.densenet import DenseNet  # takes seconds: only who uses it pays

        super().__init__()
        if len(blocks) < 2:
            raise ValueError(f"blocks: expected those of 2 levels or more, found {list(blocks)}")
        # Its classifier is left behind.
        parts = dict(DenseNet(2, in_channels, 1, features, growth, tuple(blocks)).features.named_children())
        self.stem = nn.Sequential(parts["conv0"], parts["norm0"], parts["relu0"])
        self.pool = parts["pool0"]
        self.blocks = nn.ModuleList(parts[f"denseblock{number}"] for number in range(1, len(blocks) + 1))
        self.transitions = nn.ModuleList(parts[f"transition{number}"] for number in range(1, len(blocks)))
        self.last = nn.Sequential(parts["norm5"], nn.ReLU(inplace=True))  # so called whatever the number of blocks

        # Fine to coarse: what is added at each size, of which the coarsest block is none.
        skips, channels = [features], features
        for layers in blocks:
            channels += layers * growth
            skips.append(channels)
            channels //= 2  # by the transition
        deepest = skips.pop()
        self.match = nn.Conv2d(skips[-1], deepest, 1)
        outputs = [*skips[-2::-1], features, features]
        self.decoder = nn.ModuleList()
        channels = deepest
        for width in outputs:
            self.decoder.append(nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False),
                                              nn.BatchNorm2d(width), nn.ReLU(inplace=True)))
            channels = width
        self.head = nn.Conv2d(channels, classes, 1)
        self.size_multiple = (2 ** (len(blocks) + 1),) * 2

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes, y, x). Raises ValueError as `check_sizes`."""
        check_sizes(image, self.size_multiple, batch_norm=self.training)
        skips = [self.stem(image)]
        x = self.pool(skips[0])
        for block, transition in zip(self.blocks, self.transitions, strict=False):
            x = block(x)
            skips.append(x)
            x = transition(x)
        x = self.last(self.blocks[-1](x))

        skips[-1] = self.match(skips[-1])
        for convolution in self.decoder:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            # The last enlargement is to the image's own size, of which the encoder has no features.
            if skips:
                x = x + skips.pop()
            x = convolution(x)
        logits: torch.Tensor = self.head(x)
        return logits
