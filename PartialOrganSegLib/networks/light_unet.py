"""The embedded model's network: a small residual 3D U-Net that never computes features at full resolution.

In-plane detail enters through a wide strided stem and leaves through a transposed convolution with a kernel as wide as
the stride, so the costly full-resolution features of a plain U-Net are saved: most of a laptop's time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from ..imaging.shapes import Shape3
from .base import SegmentationNetwork
from .norms import InstanceNorm
from .sizes import check_sizes

NORMS = {"batch": nn.BatchNorm3d, "instance": InstanceNorm}


class _ConvNorm(nn.Sequential):
    """Convolution, norm, leaky ReLU; `kernel` and `stride` are z, y, x."""

    def __init__(self, inputs: int, outputs: int, norm: str, kernel: Shape3 = (3, 3, 3),
                 stride: Shape3 = (1, 1, 1), padding: Shape3 = (1, 1, 1)) -> None:
        super().__init__(
            nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False),
            NORMS[norm](outputs),
            nn.LeakyReLU(0.01, inplace=True),
        )


class _Residual(nn.Module):
    """Two convolutions around an identity."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.first = _ConvNorm(channels, channels, norm)
        self.second = _ConvNorm(channels, channels, norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.second(self.first(x))
        return x + change


class LightUNet(SegmentationNetwork):
    """Residual U-Net with an early in-plane stride.

    Input (B, in_channels, z, y, x), output logits (B, classes, z, y, x). Sizes must be multiples of `size_multiple`.
    `channels` are those of the levels from fine to coarse; the first level has half the in-plane resolution, each
    further one half the resolution of the one before. `norm` is "batch" (folded into the convolutions for inference)
    or "instance".
    """

    def __init__(self, in_channels: int = 1, classes: int = 2, channels: Sequence[int] = (20, 40, 80, 128, 160),
                 norm: str = "instance") -> None:
        super().__init__()
        if norm not in NORMS:
            raise TypeError(f"norm must be one of {', '.join(NORMS)}, not '{norm}'")
        first = channels[0]
        # The kernel is three strides wide in-plane, so that a pixel's neighbours on either side reach the first level.
        self.stem = _ConvNorm(in_channels, first, norm, (3, 6, 6), (1, 2, 2), (1, 2, 2))
        self.encoder = nn.ModuleList([_Residual(first, norm)])
        for finer, coarser in pairwise(channels):
            self.encoder.append(nn.Sequential(_ConvNorm(finer, coarser, norm, stride=(2, 2, 2)),
                                              _Residual(coarser, norm)))
        backwards = list(channels[::-1])
        self.reduce = nn.ModuleList(nn.Conv3d(a, b, 1, bias=False)
                                    for a, b in pairwise(backwards))
        self.decoder = nn.ModuleList(_ConvNorm(b, b, norm) for b in backwards[1:])
        self.head = nn.ConvTranspose3d(first, classes, (1, 2, 2), (1, 2, 2))
        coarsest = 2 ** (len(channels) - 1)
        self.size_multiple = (coarsest, 2 * coarsest, 2 * coarsest)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes, z, y, x). Raises ValueError when a size is no multiple of `size_multiple`."""
        check_sizes(image, self.size_multiple)
        x = self.stem(image)
        skips = []
        for level in self.encoder:
            x = level(x)
            skips.append(x)
        for reduce, decode, skip in zip(self.reduce, self.decoder, skips[-2::-1], strict=True):
            # Fewer channels first: then there is less to enlarge.
            x = F.interpolate(reduce(x), scale_factor=2.0, mode="trilinear", align_corners=False)
            x = decode(x + skip)
        logits: torch.Tensor = self.head(x)
        return logits
