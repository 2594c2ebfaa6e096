"""The 3D U-Net (Cicek 2016), PaNN's 3D network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from .base import SegmentationNetwork
from .sizes import check_sizes


class _Convolutions(nn.Sequential):
    """Convolution, batch norm, ReLU, twice."""

    def __init__(self, inputs: int, between: int, outputs: int) -> None:
        super().__init__(
            nn.Conv3d(inputs, between, 3, padding=1, bias=False), nn.BatchNorm3d(between), nn.ReLU(inplace=True),
            nn.Conv3d(between, outputs, 3, padding=1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True))


class UNet3D(SegmentationNetwork):
    """3D U-Net with batch norm, maximum pooling and transposed convolutions.

    Cicek et al., MICCAI 2016, Fig. 2: `channels` leave each level from fine to coarse, an encoder level's first
    convolution has half of them. Convolutions are padded, so the logits have the input's size; the paper's are smaller.
    The paper's 19,069,955 parameters (3 input channels, 3 classes) count a bias for each convolution and no norm.
    Input (B, in_channels, z, y, x), logits (B, classes, z, y, x). Sizes must be multiples of `size_multiple`.
    """

    def __init__(self, in_channels: int = 1, classes: int = 2, channels: Sequence[int] = (64, 128, 256, 512)) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(_Convolutions(inputs, max(1, outputs // 2), outputs)
                                     for inputs, outputs in pairwise([in_channels, *channels]))
        # A transposed convolution keeps the channels; those of the finer level are joined to them.
        backwards = channels[::-1]
        self.enlarge = nn.ModuleList(nn.ConvTranspose3d(coarse, coarse, 2, 2) for coarse in backwards[:-1])
        self.decoder = nn.ModuleList(_Convolutions(coarse + fine, fine, fine) for coarse, fine in pairwise(backwards))
        self.head = nn.Conv3d(channels[0], classes, 1)
        self.size_multiple = (2 ** (len(channels) - 1),) * 3

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes, z, y, x). Raises ValueError as `check_sizes`."""
        check_sizes(image, self.size_multiple, batch_norm=self.training)
        x = self.encoder[0](image)
        skips = []
        for level in self.encoder[1:]:
            skips.append(x)
            x = level(F.max_pool3d(x, 2))
        for enlarge, level, skip in zip(self.enlarge, self.decoder, skips[::-1], strict=True):
            x = level(torch.cat([enlarge(x), skip], dim=1))
        logits: torch.Tensor = self.head(x)
        return logits
