"""nnU-Net's U-Net, 2D and 3D, plain or with residual blocks, from the blocks of MONAI's DynUNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .base import Logits, SegmentationNetwork
from .norms import replace_instance_norms
from .sizes import check_sizes, every_axis, total_stride


class NNUNet(SegmentationNetwork):
    """U-Net with strided convolutions, instance norm, leaky ReLU and deep supervision.

    Isensee et al., nnU-Net (Nature Methods 2021). `channels` of the levels from fine to coarse; `strides` between them,
    `kernels` of each level (default 3), a number or one an axis. `residual` makes the encoder's blocks residual:
    nnU-Net's ResU-Net. With `deep_supervision` all but the two coarsest levels are predicted in train mode.

    Input (B, in_channels, *spatial), logits (B, classes, *spatial), in train mode with deep supervision a list of them,
    finest first. Sizes must be multiples of `size_multiple`. MONAI's own forward is not used: it enlarges the coarse
    logits to full size, and keeps them alive between calls.
    """

    def __init__(self, in_channels: int, classes: int, channels: Sequence[int], strides: Sequence[int | Sequence[int]],
                 kernels: Sequence[int | Sequence[int]] | None = None, residual: bool = False,
                 deep_supervision: bool = True, axes: int = 3) -> None:
        """`axes` is 2 or 3. Raises ValueError for lists whose lengths do not fit."""
        from monai.networks.nets.dynunet import DynUNet  # takes seconds: only who uses it pays

        super().__init__()
        if len(channels) < 3:
            raise ValueError(f"channels: expected those of 3 levels or more, found {list(channels)}")
        if len(strides) != len(channels) - 1 or (kernels is not None and len(kernels) != len(channels)):
            raise ValueError(f"expected {len(channels) - 1} strides and {len(channels)} kernels for "
                             f"{len(channels)} channels")
        # MONAI counts the first level, which keeps the size, among the strides.
        steps = every_axis(strides, axes)
        coarser = max(1, len(channels) - 3)  # nnU-Net gives the coarsest prediction no weight, so it is not made
        parts = DynUNet(
            axes, in_channels, classes, every_axis(kernels or [3] * len(channels), axes), [(1,) * axes, *steps], steps,
            filters=list(channels), deep_supervision=deep_supervision, deep_supr_num=coarser, res_block=residual,
            trans_bias=True)
        self.encoder = replace_instance_norms(nn.ModuleList([parts.input_block, *parts.downsamples, parts.bottleneck]))
        self.decoder = replace_instance_norms(nn.ModuleList(parts.upsamples))
        heads: list[nn.Module] = [parts.output_block]
        if deep_supervision:
            heads += parts.deep_supervision_heads
        self.heads = nn.ModuleList(heads)
        self.size_multiple = total_stride(steps)

    @property
    def outputs(self) -> int:
        """One for each head: with deep supervision all but the two coarsest levels, and at least the finest."""
        return min(len(self.heads), len(self.decoder))

    def forward(self, image: torch.Tensor) -> Logits:
        """Logits, see the class. Raises ValueError when a size is no multiple of `size_multiple`."""
        check_sizes(image, self.size_multiple)
        skips = []
        x = image
        for level in self.encoder:
            x = level(x)
            skips.append(x)
        features: list[torch.Tensor] = []
        for level, skip in zip(self.decoder, skips[-2::-1], strict=True):
            x = level(x, skip)
            features.insert(0, x)
        if not self.training or len(self.heads) == 1:
            logits: torch.Tensor = self.heads[0](x)
            return logits
        # The coarsest decoder levels may have no head.
        return [head(scale) for head, scale in zip(self.heads, features, strict=False)]


def nnunet_3d(in_channels: int, classes: int, channels: Sequence[int] = (32, 64, 128, 256, 320, 320),
              strides: Sequence[int | Sequence[int]] = ((1, 2, 2), 2, 2, 2, 2),
              kernels: Sequence[int | Sequence[int]] | None = None, residual: bool = False,
              deep_supervision: bool = True) -> NNUNet:
    """nnU-Net's 3D U-Net; its default strides are for slices about twice as thick as a pixel is wide."""
    return NNUNet(in_channels, classes, channels, strides, kernels, residual, deep_supervision)


def nnunet_2d(in_channels: int, classes: int, channels: Sequence[int] = (32, 64, 128, 256, 512, 512),
              strides: Sequence[int | Sequence[int]] | None = None,
              kernels: Sequence[int | Sequence[int]] | None = None, residual: bool = False,
              deep_supervision: bool = True) -> NNUNet:
    """nnU-Net's 2D U-Net, halving the size between levels unless `strides` says otherwise."""
    return NNUNet(in_channels, classes, channels, strides or [2] * (len(channels) - 1), kernels, residual,
                  deep_supervision, axes=2)


def resunet_2d(in_channels: int, classes: int, channels: Sequence[int] = (32, 64, 128, 256, 512, 512),
               strides: Sequence[int | Sequence[int]] | None = None,
               kernels: Sequence[int | Sequence[int]] | None = None, deep_supervision: bool = True) -> NNUNet:
    """The 2D ResU-Net in nnU-Net's setting, WORD's network for scribbles (Luo 2021, section 4).

    WORD cites ResUNet-a (Diakogiannis 2020) for it and gives no layers; ours is the plain residual encoder without that
    paper's atrous convolutions and multi-task heads.
    """
    return nnunet_2d(in_channels, classes, channels, strides, kernels, True, deep_supervision)
