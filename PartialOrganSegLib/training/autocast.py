"""The reduced precision that networks are trained in, and the convolutions that are kept out of it on a CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import conv3d
from torch.overrides import TorchFunctionMode


@contextlib.contextmanager
def training_precision(device: torch.device, kind: torch.dtype | None) -> Iterator[None]:
    """Layers compute in `kind`, bfloat16 or float16; with None in that of the weights."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.autocast(device.type, kind, enabled=kind is not None))
        if kind is not None and device.type == "cpu":
            stack.enter_context(_FlatConvolutions())
        yield


class _FlatConvolutions(TorchFunctionMode):
    """3D convolutions of inputs with fewer slices than their kernel compute in float32.

    oneDNN's bfloat16 gradient of such a kernel (jit_bf16:avx512_core_bf16, as in PyTorch 2.13) reads and writes memory
    that is not its own: weights get garbage or NaN, and the process may crash. One slice and strides of 2 were right
    in trials; there is little to compute in all of them.
    """

    def __torch_function__(self, function: Callable[..., Any], types: Sequence[type], arguments: Sequence[Any] = (),
                           named: Mapping[str, Any] | None = None) -> object:
        named = named or {}
        if function is not conv3d:
            return function(*arguments, **named)
        # By name too, as a network of somebody's own may call it.
        given = {**dict(zip(("input", "weight"), arguments, strict=False)), **named}
        image = given.pop("input")
        if image.shape[-3] >= given["weight"].shape[-3]:
            return function(*arguments, **named)
        with torch.autocast("cpu", enabled=False):
            return function(image.float(), given.pop("weight"), *arguments[2:], **given)
