"""The U-Nets that nnU-Net v2 plans: layers and names of parameters are its own, so that its weights fit.

`networks.nnunet` is the same architecture for our own training; its blocks come from MONAI and differ in detail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .base import Logits, SegmentationNetwork
from .norms import InstanceNorm
from .sizes import check_sizes, every_axis, total_stride
from .slabs import joined_in_slabs
from .slicewise import SliceWise

SLOPE = 0.01  # of the leaky ReLU
# Called with as many numbers for kernel, stride and padding as there are axes.
CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Callable[..., nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
POOLS: dict[int, Callable[..., nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
Axes = tuple[int, ...]


class _Layer(nn.Module):
    """Convolution, instance norm and, unless `linear`, leaky ReLU. The kernel's length is the number of axes."""

    def __init__(self, inputs: int, outputs: int, kernel: Axes, stride: Axes, bias: bool, linear: bool = False) -> None:
        super().__init__()
        padding = tuple((size - 1) // 2 for size in kernel)
        self.conv = CONVOLUTIONS[len(kernel)](inputs, outputs, kernel, stride, padding, bias=bias)
        self.norm = InstanceNorm(outputs)
        self.linear = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.finish(self.conv(x))

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        """What comes after the convolution."""
        x = self.norm(x)
        if self.linear:
            return x
        return F.leaky_relu(x, SLOPE, inplace=True)


class _Stack(nn.Module):
    """`count` layers one after the other, the first with the stride."""

    def __init__(self, count: int, inputs: int, outputs: int, kernel: Axes, stride: Axes, bias: bool) -> None:
        super().__init__()
        layers = [_Layer(inputs, outputs, kernel, stride, bias)]
        layers += [_Layer(outputs, outputs, kernel, (1,) * len(kernel), bias) for _ in range(count - 1)]
        self.convs = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.convs(x)
        return features


class _Residual(nn.Module):
    """Two layers around a skip: averaged where there is a stride, projected where the channels change (ResNet-D)."""

    def __init__(self, inputs: int, outputs: int, kernel: Axes, stride: Axes, bias: bool) -> None:
        super().__init__()
        unit = (1,) * len(kernel)
        self.conv1 = _Layer(inputs, outputs, kernel, stride, bias)
        self.conv2 = _Layer(outputs, outputs, kernel, unit, bias, linear=True)
        # Only what is needed: nnU-Net numbers the parameters of the skip by their place in it.
        skip: list[nn.Module] = []
        if stride != unit:
            skip.append(POOLS[len(kernel)](stride, stride))
        if inputs != outputs:
            skip.append(_Layer(inputs, outputs, unit, unit, False, True))
        self.skip = nn.Sequential(*skip)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(self.conv2(self.conv1(x)) + self.skip(x), SLOPE, inplace=True)


class _ResidualStack(nn.Module):
    """`count` residual blocks, the first with the stride."""

    def __init__(self, count: int, inputs: int, outputs: int, kernel: Axes, stride: Axes, bias: bool) -> None:
        super().__init__()
        blocks = [_Residual(inputs, outputs, kernel, stride, bias)]
        blocks += [_Residual(outputs, outputs, kernel, (1,) * len(kernel), bias) for _ in range(count - 1)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.blocks(x)
        return features


class _Encoder(nn.Module):
    def __init__(self, inputs: int, features: Sequence[int], kernels: list[Axes], strides: list[Axes],
                 blocks: Sequence[int], bias: bool, residual: bool) -> None:
        super().__init__()
        self.stem = None
        if residual:
            self.stem = _Stack(1, inputs, features[0], kernels[0], (1,) * len(kernels[0]), bias)
            inputs = features[0]
        stages: list[nn.Module] = []
        for outputs, kernel, stride, count in zip(features, kernels, strides, blocks, strict=True):
            if residual:
                stages.append(_ResidualStack(count, inputs, outputs, kernel, stride, bias))
            else:
                stages.append(nn.Sequential(_Stack(count, inputs, outputs, kernel, stride, bias)))
            inputs = outputs
        self.stages = nn.ModuleList(stages)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The features of all stages, fine to coarse."""
        if self.stem is not None:
            x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class _Decoder(nn.Module):
    """Stages are numbered from the coarsest. nnU-Net gives the coarsest prediction no weight, so it is not made."""

    def __init__(self, classes: int, features: Sequence[int], kernels: list[Axes], strides: list[Axes],
                 blocks: Sequence[int], bias: bool, counted_as: Sequence[int]) -> None:
        super().__init__()
        self.counted_as = tuple(counted_as)
        axes = len(kernels[0])
        stages, transposed = [], []
        self.seg_layers, self.more_layers = nn.ModuleDict(), nn.ModuleDict()
        coarse_to_fine = range(len(features) - 2, -1, -1)
        for number, (level, count) in enumerate(zip(coarse_to_fine, blocks, strict=True)):
            stride, outputs = strides[level + 1], features[level]
            transposed.append(TRANSPOSED[axes](features[level + 1], outputs, stride, stride, bias=bias))
            stages.append(_Stack(count, 2 * outputs, outputs, kernels[level], (1,) * axes, bias))
            if number or len(features) == 2:
                self.seg_layers[str(number)] = CONVOLUTIONS[axes](outputs, classes, 1)
                if counted_as:
                    self.more_layers[str(number)] = CONVOLUTIONS[axes](outputs, len(counted_as), 1)
        self.transpconvs, self.stages = nn.ModuleList(transposed), nn.ModuleList(stages)

    def forward(self, skips: list[torch.Tensor]) -> list[torch.Tensor]:
        """Logits of all stages but the coarsest, finest first; in eval mode of the finest alone. Empties `skips`."""
        # In use features are freed as soon as they were read: those at full resolution are most of the memory.
        x = skips.pop()
        logits: list[torch.Tensor] = []
        last = len(self.stages) - 1
        traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # public, but without a type
        in_slabs = not (torch.is_grad_enabled() or torch.compiler.is_compiling() or traced)
        for number, (enlarge, stage) in enumerate(zip(self.transpconvs, self.stages, strict=True)):
            first, *others = stage.get_submodule("convs").children()
            assert isinstance(first, _Layer)
            if in_slabs and number == last and x.ndim == 5 and x.device.type == "cpu":
                x = joined_in_slabs(enlarge, first.conv, x, skips.pop())
            else:
                x = first.conv(torch.cat([enlarge(x), skips.pop()], 1))
            # Not `stage(x)`, nor `layer(x)`: they would hold on to their input until the norm has taken as much again.
            x = first.finish(x)
            for layer in others:
                assert isinstance(layer, _Layer)
                x = layer.conv(x)
                x = layer.finish(x)
            # Coarse predictions are for deep supervision only; in use they would be computed for nothing.
            if str(number) in self.seg_layers and (self.training or number == len(self.stages) - 1):
                logits.insert(0, self._logits(str(number), x))
        return logits

    def _logits(self, level: str, x: torch.Tensor) -> torch.Tensor:
        """(B, classes, *spatial): of each class the highest of its own logit and those that count as it."""
        logits: torch.Tensor = self.seg_layers[level](x)
        if not self.counted_as:
            return logits
        extras = self.more_layers[level](x).unbind(1)
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            classes = list(logits.unbind(1))
            for target, extra in zip(self.counted_as, extras, strict=True):
                classes[target] = torch.maximum(classes[target], extra)
            return torch.stack(classes, 1)
        # In use in place: logits at full resolution are large, and stay in the convolution's order of memory.
        for target, extra in zip(self.counted_as, extras, strict=True):
            torch.maximum(logits[:, target], extra, out=logits[:, target])
        return logits


class _UNet(SegmentationNetwork):
    """On the axes of its kernels, two or three; sizes must be multiples of `size_multiple`."""

    def __init__(self, inputs: int, classes: int, features: Sequence[int], kernels: list[Axes], strides: list[Axes],
                 encoder: Sequence[int], decoder: Sequence[int], bias: bool, residual: bool,
                 counted_as: Sequence[int]) -> None:
        super().__init__()
        self.encoder = _Encoder(inputs, features, kernels, strides, encoder, bias, residual)
        self.decoder = _Decoder(classes, features, kernels, strides, decoder, bias, counted_as)
        self.size_multiple = total_stride(strides)

    @property
    def outputs(self) -> int:
        return len(self.decoder.seg_layers)

    def forward(self, image: torch.Tensor) -> Logits:
        check_sizes(image, self.size_multiple)
        logits: list[torch.Tensor] = self.decoder(self.encoder(image))
        if self.training and len(logits) > 1:
            return logits
        return logits[0]


class NNUNetV2(SegmentationNetwork):
    """nnU-Net v2's PlainConvUNet or, `residual`, ResidualEncoderUNet (Isensee et al., Nature Methods 2021; 2024).

    Input (B, in_channels, z, y, x) on axes to superior, posterior and left, logits (B, classes, z, y, x); in train mode
    a list of them, finest first. Inside, the axes are nnU-Net's: `flips` are undone along z, y, x, then `transpose`
    orders them. `own_axes` is the network inside, for who already has nnU-Net's axes.

    `features`, `kernels` and `strides` of the encoder's stages, fine to coarse, a number or one an axis: two for a 2D
    network, which sees a volume slice by slice along the first of its axes. `encoder` convolutions (or residual blocks)
    of each stage, `decoder` those of the decoder's, coarse to fine. Sizes must be multiples of `size_multiple`.

    `more`: classes that the network tells apart and the label space does not. Row r of these counts as class `more[r]`,
    whose logit is the highest of all that count as it. So the labels are exactly those of the whole network, renamed
    afterwards.
    """

    def __init__(self, in_channels: int, classes: int, features: Sequence[int], kernels: Sequence[Sequence[int]],
                 strides: Sequence[Sequence[int]], encoder: Sequence[int], decoder: Sequence[int], bias: bool = True,
                 residual: bool = False, more: Sequence[int] = (), transpose: Sequence[int] = (0, 1, 2),
                 flips: Sequence[bool] = (False, False, False)) -> None:
        """Raises ValueError for lists whose lengths do not fit and for classes in `more` that do not exist."""
        super().__init__()
        stages = len(features)
        lengths = [len(kernels), len(strides), len(encoder), len(decoder) + 1]
        if stages < 2 or lengths != [stages] * 4:
            raise ValueError(f"expected kernels, strides and encoder of {stages} stages and decoder of one less, "
                             f"found {lengths[:3]} and {len(decoder)}")
        if any(not 0 <= target < classes for target in more):
            raise ValueError(f"more: expected classes from 0 to {classes - 1}, found {list(more)}")
        axes = len(kernels[0])
        if axes not in CONVOLUTIONS or sorted(transpose) != [0, 1, 2]:
            raise ValueError(f"expected kernels of 2 or 3 axes and an order of 0, 1, 2, found {axes}, {transpose}")
        unet = _UNet(in_channels, classes, features, every_axis(kernels, axes), every_axis(strides, axes), encoder,
                     decoder, bias, residual, more)
        self.own_axes: SegmentationNetwork = unet
        if axes == 2:
            self.own_axes = SliceWise(unet)
        self._order = [2 + axis for axis in transpose]
        self._back = [2 + list(transpose).index(axis) for axis in range(3)]
        self._flips = [2 + axis for axis, flip in enumerate(flips) if flip]
        inner = self.own_axes.size_multiple
        self.size_multiple = tuple(inner[axis - 2] for axis in self._back)
        # Where nnU-Net's slices are not axial, windows are planned as for any network of volumes.
        if axes == 2 and transpose[0] == 0:
            self.slices = 1

    @property
    def outputs(self) -> int:
        """One for each stage of the decoder but the coarsest."""
        return self.own_axes.outputs

    def forward(self, image: torch.Tensor) -> Logits:
        """Logits, see the class. Raises ValueError when a size is no multiple of `size_multiple`."""
        check_sizes(image, self.size_multiple)
        logits: Logits = self.own_axes(image.flip(self._flips).permute(0, 1, *self._order))
        if isinstance(logits, torch.Tensor):
            return self._turned_back(logits)
        return [self._turned_back(scale) for scale in logits]

    def _turned_back(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.permute(0, 1, *self._back).flip(self._flips)
