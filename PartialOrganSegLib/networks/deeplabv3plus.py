"""DeepLabV3+ (Chen 2018) with a ResNet encoder, PaNN's and one of WORD's 2D networks. Weights start at random."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .base import SegmentationNetwork
from .sizes import check_sizes

BACKBONE_NAMES = {"conv1.": "stem.0.", "bn1.": "stem.1.", "layer1.": "stages.0.", "layer2.": "stages.1.",
                  "layer3.": "stages.2.", "layer4.": "stages.3."}
LAYERS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
# Of Chen 2018 for an encoder that ends at a sixteenth of the size: sections 3.1 (rates) and 4.1 (48 of 256 channels).
RATES = (6, 12, 18)
LOW_LEVEL_CHANNELS = 48 / 256


class ConvNorm(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2 * dilation, dilation=dilation,
                                   bias=False),
                         nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1 x 1 and three atrous convolutions and the image's mean, side by side.

    The mean's branch has no batch norm: a single image has one value a channel there, which has no variance.
    """

    def __init__(self, inputs: int, outputs: int, rates: Sequence[int] = RATES) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvNorm(inputs, outputs, 1),
                                       *(ConvNorm(inputs, outputs, 3, rate) for rate in rates)])
        self.mean = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True))
        self.project = ConvNorm(outputs * (len(rates) + 2), outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, y, x) to (B, outputs, y, x)."""
        mean = self.mean(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        features: torch.Tensor = self.project(torch.cat([*(branch(x) for branch in self.branches), mean], dim=1))
        return features


class _ResNetEncoder(SegmentationNetwork):
    """MONAI's ResNet of `depth` 18, 50 or 101, ended at a sixteenth of the size: its last stage has atrous convolutions
    in place of a stride. `width` is its first number of channels."""

    size_multiple = (16, 16)

    def __init__(self, in_channels: int, depth: int, width: int) -> None:
        from monai.networks.nets.resnet import ResNet  # takes seconds: only who uses it pays

        super().__init__()
        kind = "basic" if depth < 50 else "bottleneck"
        # torchvision's ResNets have a bias in no convolution; MONAI's would have one where the channels change.
        resnet = ResNet(kind, list(LAYERS[depth]), [width * 2**stage for stage in range(4)], spatial_dims=2,
                        n_input_channels=in_channels, conv1_t_stride=2, feed_forward=False, bias_downsample=False)
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.act, resnet.maxpool)
        self.stages = nn.ModuleList([resnet.layer1, resnet.layer2, resnet.layer3, _dilated(resnet.layer4)])
        expansion = 1 if kind == "basic" else 4
        self.fine_channels, self.coarse_channels = width * expansion, width * 8 * expansion

    @property
    def backbone_names(self) -> dict[str, str]:
        """Of torchvision's names of a ResNet's parts, where each is here; see `networks.backbones`."""
        return BACKBONE_NAMES


class DeepLabV3Plus(_ResNetEncoder):
    """Encoder-decoder with atrous convolution (Chen et al., ECCV 2018) on MONAI's ResNet of `depth` 50 or 101.

    Input (B, in_channels, y, x), logits (B, classes, y, x), enlarged bilinearly from a quarter of the size. The
    encoder ends at a sixteenth: its last stage has atrous convolutions in place of a stride. Sizes must be
    multiples of `size_multiple`. `width` is the ResNet's first number of channels, `features` that of ASPP and decoder.
    """

    def __init__(self, in_channels: int, classes: int, depth: int, width: int = 64, features: int = 256) -> None:
        super().__init__(in_channels, depth, width)
        low_level = max(1, round(features * LOW_LEVEL_CHANNELS))
        self.aspp = ASPP(self.coarse_channels, features)
        self.low_level = ConvNorm(self.fine_channels, low_level, 1)
        self.decoder = nn.Sequential(ConvNorm(features + low_level, features, 3), ConvNorm(features, features, 3))
        self.head = nn.Conv2d(features, classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes, y, x). Raises ValueError as `check_sizes`."""
        check_sizes(image, self.size_multiple, batch_norm=self.training)
        # Borders come from the first stage, at a quarter of the size; what the deeper stages know is too coarse for it.
        fine = x = self.stages[0](self.stem(image))
        for stage in self.stages[1:]:
            x = stage(x)
        x = F.interpolate(self.aspp(x), scale_factor=4.0, mode="bilinear", align_corners=False)
        x = self.decoder(torch.cat([x, self.low_level(fine)], dim=1))
        return F.interpolate(self.head(x), scale_factor=4.0, mode="bilinear", align_corners=False)


class DeepLabV3(_ResNetEncoder):
    """Atrous spatial pyramid pooling without a decoder (Chen 2017, "Rethinking atrous convolution"), with a ResNet.

    Input (B, in_channels, y, x), logits (B, classes, y, x), enlarged bilinearly from a sixteenth of the size. `width`
    and `features` as of `DeepLabV3Plus`. With `depth` 18 it is what PIPO-FAN is compared with (Fang 2020, table III).
    """

    def __init__(self, in_channels: int, classes: int, depth: int, width: int = 64, features: int = 256) -> None:
        super().__init__(in_channels, depth, width)
        self.aspp = ASPP(self.coarse_channels, features)
        self.head = nn.Conv2d(features, classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes, y, x). Raises ValueError as `check_sizes`."""
        check_sizes(image, self.size_multiple, batch_norm=self.training)
        x = self.stem(image)
        for stage in self.stages:
            x = stage(x)
        return F.interpolate(self.head(self.aspp(x)), scale_factor=16.0, mode="bilinear", align_corners=False)


def _dilated(stage: nn.Sequential) -> nn.Sequential:
    """A ResNet stage at the size of the stage before: its stride becomes a dilation of 2, in place."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (2, 2)
    return stage


def deeplabv3_resnet18(in_channels: int, classes: int, width: int = 64, features: int = 256) -> DeepLabV3:
    """DeepLabV3 with ResNet-18."""
    return DeepLabV3(in_channels, classes, 18, width, features)


def deeplabv3plus_resnet50(in_channels: int, classes: int, width: int = 64, features: int = 256) -> DeepLabV3Plus:
    """DeepLabV3+ with ResNet-50."""
    return DeepLabV3Plus(in_channels, classes, 50, width, features)


def deeplabv3plus_resnet101(in_channels: int, classes: int, width: int = 64, features: int = 256) -> DeepLabV3Plus:
    """DeepLabV3+ with ResNet-101."""
    return DeepLabV3Plus(in_channels, classes, 101, width, features)
