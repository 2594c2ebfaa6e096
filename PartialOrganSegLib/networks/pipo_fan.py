"""PIPO-FAN: a 2D network with a pyramid of inputs, a pyramid of outputs and adaptive fusion (Fang 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from .base import Logits, SegmentationNetwork
from .sizes import check_sizes


class ConvBlock(nn.Sequential):
    """Convolution, batch norm, ReLU, twice."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True),
                         nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class ResBlock(nn.Module):
    """Batch norm, ReLU, convolution, twice, around an identity; a 1 x 1 convolution where the channels change."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_NormReLUConv(inputs, outputs, 3), _NormReLUConv(outputs, outputs, 3))
        self.bridge = nn.Identity() if inputs == outputs else _NormReLUConv(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut: torch.Tensor = self.bridge(x)
        change: torch.Tensor = self.body(x)
        return shortcut + change


class _NormReLUConv(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))


class AdaptiveFusion(nn.Module):
    """A weight for each scale's logits from their own certainty, and the weighted sum.

    F_s = Conv(f_s) with shared convolutions to one channel (3), S_s = GAP(F_s) + GMP(F_s) (4), w = softmax_s S_s (5),
    logits sum_s w_s f_s (6), the f_s resampled to the finest first. Has 3 classes + 13 parameters.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(_NormReLUConv(classes, 1, 1), _NormReLUConv(1, 1, 3))

    def forward(self, scales: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits (B, classes, y, x) of each scale, finest first, to those of the finest size."""
        maps = [self.attention(logits) for logits in scales]
        certainty = torch.cat([scale.mean((2, 3)) + scale.amax((2, 3)) for scale in maps], dim=1)
        weights = certainty.softmax(1)[:, :, None, None, None]
        size = scales[0].shape[2:]
        fused = weights[:, 0] * scales[0]
        for scale, logits in enumerate(scales[1:], 1):
            enlarged = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
            fused = fused + weights[:, scale] * enlarged
        return fused


class PIPOFAN(SegmentationNetwork):
    """Pyramid input and pyramid output feature abstraction network (Fang et al., IEEE TMI 2020, Fig. 3, Table I).

    Input (B, in_channels, y, x), three consecutive slices in the paper; logits (B, classes, y, x). Sizes must be
    multiples of `size_multiple`. Scale s is the image average-pooled 2^s times; `input_scales` of them enter and
    `output_scales` are predicted, each from 1 to the number of levels. `channels` of the levels from fine to coarse.

    Equal convolutional depth: one first block is shared by all scales, then every scale has a chain of blocks of its
    own, as many as the path from the finer scales went through before the two are concatenated; so has every
    output on its way to the score map. `residual=False` takes ConvBlocks everywhere, the paper's choice for KiTS.

    Two phases, chosen by `phase` (`networks.set_phase` later on):
    - "deep_supervision": train mode gives the logits of every output scale, finest first, for the loss (1); eval
      mode those of the finest, the paper's "PIPO".
    - "fusion": both give the fused logits (6). Its own parameters' names start with `fusion.`; with one output scale
      there are none and nothing to fuse.

    Parameters with 3 input channels and 2 classes, without the fusion's 19, against the published ones (Table VII):

        (in, out)         ours     published   difference: in the published count, never used
        (1, 1)      13,927,746    13,395,394   the published one is a U-Net of ConvBlocks: `residual=False` has as many
        (3, 1)      14,485,314    15,981,634   two blocks of a fourth input scale 1,149,568; bridges 346,752
        (5, 1)      24,393,282    24,740,034   bridges 346,752
        (3, 3)      14,753,670    16,258,566   two blocks 1,149,568; bridges 355,328
        (5, 3)      24,661,638    25,016,966   bridges 355,328
        (5, 5)      27,907,082    28,270,986   bridges 363,904

    A bridge is the 1 x 1 convolution of a residual block; where a block keeps its channels, the identity stands there.
    The pooling between levels, which the paper leaves open, is by maximum.
    """

    PHASES = ("deep_supervision", "fusion")

    def __init__(self, in_channels: int = 3, classes: int = 2, input_scales: int = 5, output_scales: int = 5,
                 channels: Sequence[int] = (64, 128, 256, 512, 512), residual: bool = True,
                 phase: str = "fusion") -> None:
        """Raises ValueError for a number of scales beyond the levels or an unknown phase."""
        super().__init__()
        for name, scales in (("input_scales", input_scales), ("output_scales", output_scales)):
            if not 1 <= scales <= len(channels):
                raise ValueError(f"{name} must be from 1 to {len(channels)}, the number of channels, not {scales}")
        block: type[nn.Module] = ConvBlock
        score: type[nn.Module] = nn.Conv2d
        if residual:
            # Residual blocks end with a convolution: norm and ReLU stand before the score map's.
            block, score = ResBlock, _NormReLUConv
        self.input_scales = input_scales
        self.phase = phase
        self.first: nn.Module
        if residual:  # without the block's first batch norm and ReLU, which would be of the image itself
            self.first = nn.Sequential(nn.Conv2d(in_channels, channels[0], 3, padding=1),
                                       _NormReLUConv(channels[0], channels[0], 3))
        else:
            self.first = ConvBlock(in_channels, channels[0])
        self.chains = nn.ModuleList(_chain(block, channels[:scale]) for scale in range(1, input_scales))
        self.downs = nn.ModuleList()
        for scale, (finer, coarser) in enumerate(pairwise(channels), 1):
            inputs = finer
            if scale < input_scales:  # the features of that input scale stand beside
                inputs = 2 * finer
            self.downs.append(block(inputs, coarser))
        # What each level gives the finer one: as many channels as the finer one's encoder has.
        decoded = list(channels)
        if len(channels) > 1:
            decoded = [channels[0], *channels[:-2], channels[-1]]
        self.ups = nn.ModuleList(block(decoded[level + 1] + channels[level], decoded[level])
                                 for level in range(len(channels) - 1))
        self.heads = nn.ModuleList(nn.Sequential(_chain(block, decoded[scale::-1]), score(channels[0], classes, 1))
                                   for scale in range(output_scales))
        self.fusion = AdaptiveFusion(classes) if output_scales > 1 else None
        self.size_multiple = (2 ** (len(channels) - 1),) * 2

    @property
    def outputs(self) -> int:
        """Each output scale's, or the fused one."""
        return 1 if self._fuses else len(self.heads)

    @property
    def _fuses(self) -> bool:
        return self.phase == "fusion" and self.fusion is not None

    def forward(self, image: torch.Tensor) -> Logits:
        """Logits, see the class. Raises ValueError as `check_sizes`."""
        check_sizes(image, self.size_multiple, batch_norm=self.training)
        decoded = self._decode(self._encode(image))
        if not self._fuses and not self.training:
            finest: torch.Tensor = self.heads[0](decoded[0])
            return finest
        scales = [head(features) for head, features in zip(self.heads, decoded, strict=False)]
        if self.fusion is not None and self._fuses:
            fused: torch.Tensor = self.fusion(scales)
            return fused
        return scales

    def _encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Features of each level, finest first, the input scales fused at equal depth (Table I, encoding)."""
        x = self.first(image)
        levels = [x]
        for scale, down in enumerate(self.downs, 1):
            x = F.max_pool2d(x, 2)
            # Both were through equally many convolutions when they meet: the paper's equal convolutional depth.
            if scale < self.input_scales:
                image = F.avg_pool2d(image, 2)
                x = torch.cat([x, self.chains[scale - 1](self.first(image))], dim=1)
            x = down(x)
            levels.append(x)
        return levels

    def _decode(self, levels: list[torch.Tensor]) -> list[torch.Tensor]:
        """Decoded features of each level, finest first (Table I, decoding); the coarsest are the encoder's."""
        x = levels[-1]
        decoded = [x]
        for up, skip in zip(self.ups[::-1], levels[-2::-1], strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = up(torch.cat([x, skip], dim=1))
            decoded.insert(0, x)
        return decoded


def _chain(block: type[nn.Module], channels: Sequence[int]) -> nn.Sequential:
    """Blocks from the first of `channels` to the last, one for each step."""
    return nn.Sequential(*(block(a, b) for a, b in pairwise(channels)))
