"""What networks compute in, and by which of PyTorch's ways a CPU convolves."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import conv2d, conv3d
from torch.overrides import TorchFunctionMode

# PyTorch's bound (`ConvParams::use_mkldnn`) on the first four of an input's five sizes, the width being left out.
PASSED_OVER = 20480


@contextlib.contextmanager
def computing_in(device: torch.device, kind: torch.dtype | None) -> Iterator[None]:
    """Layers compute in `kind`, bfloat16 or float16; with None (or float32) in that of the weights."""
    reduced = kind not in (None, torch.float32)
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.autocast(device.type, kind, enabled=reduced))
        if device.type == "cpu":
            stack.enter_context(_Convolutions(reduced))
        yield


class _Convolutions(TorchFunctionMode):
    """Convolutions on a CPU, each by the kernels that are right and quick.

    In bfloat16 inputs with fewer slices than the kernel learn in float32: oneDNN's gradient of such a kernel
    (jit_bf16:avx512_core_bf16, as in PyTorch 2.13) reads and writes memory that is not its own, so that weights get
    garbage or NaN, and the process may crash. One slice and strides of 2 were right in trials; there is little to
    compute in all of them.

    In float32 small inputs are handed to oneDNN. PyTorch passes it over for a batch of one where the input is small by
    a rule that was found on 2D networks (pytorch/pytorch#40610), and takes two to nine times as long in 3D. So are
    kernels of 1 x 1 x 1 in a network that only predicts: PyTorch rearranges a channels-last input for them.

    In 2D kernels of 1 x 1 with strides see the pixels that they would have met, without strides: on processors with
    AVX2 alone, oneDNN's gradient of fewer than 8 channels (4 in trials) ends the process.
    """

    def __init__(self, reduced: bool) -> None:
        super().__init__()
        self._reduced = reduced

    def __torch_function__(self, function: Callable[..., Any], types: Sequence[type], arguments: Sequence[Any] = (),
                           named: Mapping[str, Any] | None = None) -> object:
        named = named or {}
        if function is conv2d:
            return _in_2d(*arguments, **named)
        if function is conv3d:
            return self._in_3d(*arguments, **named)
        return function(*arguments, **named)

    def _in_3d(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None,
               stride: int | Sequence[int] = 1, padding: int | str | Sequence[int] = 0,
               dilation: int | Sequence[int] = 1, groups: int = 1) -> torch.Tensor:
        """What `conv3d` gives."""
        if not self._reduced:
            return _in_float32(input, weight, bias, stride, padding, dilation, groups)
        if input.shape[-3] >= weight.shape[-3] or not _is_learning(input, weight):
            return conv3d(input, weight, bias, stride, padding, dilation, groups)
        with torch.autocast("cpu", enabled=False):
            return _in_float32(input.float(), weight, bias, stride, padding, dilation, groups)


def _in_2d(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None,
           stride: int | Sequence[int] = 1, padding: int | str | Sequence[int] = 0,
           dilation: int | Sequence[int] = 1, groups: int = 1) -> torch.Tensor:
    """What `conv2d` gives."""
    if max(weight.shape[2:]) == 1 and padding in (0, (0, 0)):
        rows, columns = _for_each(stride, 2)
        input, stride = input[..., ::rows, ::columns], 1
    return conv2d(input, weight, bias, stride, padding, dilation, groups)


def _in_float32(image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: int | Sequence[int],
                padding: int | str | Sequence[int], dilation: int | Sequence[int], groups: int) -> torch.Tensor:
    learning = _is_learning(image, weight)
    if isinstance(padding, str) or groups != 1 or not _is_quicker_in_onednn(image, weight, learning):
        return conv3d(image, weight, bias, stride, padding, dilation, groups)
    if learning:
        # An input in oneDNN's own layout has its gradient computed by oneDNN too.
        return conv3d(image.to_mkldnn(), weight, bias, stride, padding, dilation, groups).to_dense()
    convolved: torch.Tensor = torch.ops.aten.mkldnn_convolution(
        image, weight, bias, _for_each(padding, 3), _for_each(stride, 3), _for_each(dilation, 3), groups)
    return convolved


def _is_learning(image: torch.Tensor, weight: torch.Tensor) -> bool:
    return torch.is_grad_enabled() and (image.requires_grad or weight.requires_grad)


def _is_quicker_in_onednn(image: torch.Tensor, weight: torch.Tensor, learning: bool) -> bool:
    """Where PyTorch would leave oneDNN out, and would be slower for it (measured on AVX2, one and two threads)."""
    if image.dim() != 5 or image.shape[0] != 1 or min(image.shape) == 0:
        return False
    if image.dtype != torch.float32 or weight.dtype != torch.float32:
        return False
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return False
    if max(weight.shape[3:]) == 1:
        return not learning and image.is_contiguous(memory_format=torch.channels_last_3d)
    return math.prod(image.shape[:4]) <= PASSED_OVER


def _for_each(value: int | Sequence[int], axes: int) -> list[int]:
    if isinstance(value, int):
        return [value] * axes
    return [*value] * (axes // len(value))
