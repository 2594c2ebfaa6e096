"""U-Net++ (Zhou 2019), 2D, MONAI's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .base import Logits, SegmentationNetwork
from .norms import replace_instance_norms
from .sizes import check_sizes

LEVELS = 5


class UNetPlusPlus2D(SegmentationNetwork):
    """U-Net with nested dense skip connections (Zhou et al., IEEE TMI 2020), with instance norm.

    `channels` of the five levels from fine to coarse. Input (B, in_channels, y, x), logits (B, classes, y, x). With
    `deep_supervision` train mode gives those of all four nested U-Nets, the deepest first, each of full size.
    Sizes must be multiples of `size_multiple`.
    """

    size_multiple = (2 ** (LEVELS - 1),) * 2

    def __init__(self, in_channels: int = 1, classes: int = 2, channels: Sequence[int] = (32, 64, 128, 256, 512),
                 deep_supervision: bool = True) -> None:
        """Raises ValueError for another number of levels than five."""
        from monai.networks.nets.basic_unetplusplus import BasicUNetPlusPlus  # takes seconds: only who uses it pays

        super().__init__()
        if len(channels) != LEVELS:
            raise ValueError(f"channels: expected those of {LEVELS} levels, found {list(channels)}")
        self.unet = replace_instance_norms(BasicUNetPlusPlus(
            2, in_channels, classes, (*channels, channels[0]), deep_supervision=True, bias=False))
        self.deep_supervision = deep_supervision
        # Heads of the shallower U-Nets would get no gradient; as identities they have no parameters.
        if not deep_supervision:
            for shallower in (1, 2, 3):
                setattr(self.unet, f"final_conv_0_{shallower}", nn.Identity())

    @property
    def outputs(self) -> int:
        """That of each nested U-Net, or of the deepest alone."""
        return LEVELS - 1 if self.deep_supervision else 1

    def forward(self, image: torch.Tensor) -> Logits:
        """Logits, see the class. Raises ValueError when a size is no multiple of `size_multiple`."""
        check_sizes(image, self.size_multiple)
        nested: list[torch.Tensor] = self.unet(image)[::-1]
        if self.training and self.deep_supervision:
            return nested
        return nested[0]
