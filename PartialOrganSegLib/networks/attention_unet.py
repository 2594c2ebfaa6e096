"""Attention U-Net (Oktay 2018), 2D and 3D, MONAI's."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .base import SegmentationNetwork
from .sizes import check_sizes, total_stride


class AttentionUNet(SegmentationNetwork):
    """U-Net whose skip connections are gated by the coarser level (Oktay et al., arXiv 1804.03999).

    `channels` of the levels from fine to coarse, the size halved between them. Input (B, in_channels, *spatial), logits
    (B, classes, *spatial). Sizes must be multiples of `size_multiple`.
    """

    def __init__(self, in_channels: int, classes: int, channels: Sequence[int] = (32, 64, 128, 256, 320),
                 axes: int = 3) -> None:
        """`axes` is 2 or 3. Raises ValueError for fewer than two levels."""
        from monai.networks.nets.attentionunet import AttentionUnet  # takes seconds: only who uses it pays

        super().__init__()
        if len(channels) < 2:
            raise ValueError(f"channels: expected those of 2 levels or more, found {list(channels)}")
        strides = [2] * (len(channels) - 1)
        # MONAI's strides are those between levels: the first level has the input's size.
        self.unet = AttentionUnet(axes, in_channels, classes, list(channels), strides)
        self.size_multiple = total_stride([(stride,) * axes for stride in strides])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes, *spatial). Raises ValueError as `check_sizes`."""
        check_sizes(image, self.size_multiple, batch_norm=self.training)
        logits: torch.Tensor = self.unet(image)
        return logits


def attention_unet_2d(in_channels: int, classes: int,
                      channels: Sequence[int] = (32, 64, 128, 256, 320)) -> AttentionUNet:
    """The 2D Attention U-Net."""
    return AttentionUNet(in_channels, classes, channels, axes=2)
