"""The one rule about input sizes: every spatial size is a multiple of the network's total stride along it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

AXES = ("z", "y", "x")


def check_sizes(image: torch.Tensor, multiple: Sequence[int], batch_norm: bool = False) -> None:
    """Raises ValueError when a spatial size of `image` (B, channels, *spatial) is no multiple of `multiple`.

    With `batch_norm` (a network that has it, in train mode) also when a single voxel is left at the coarsest level.
    """
    sizes = tuple(image.shape[2:])
    axes = ", ".join(AXES[-len(multiple):])
    if len(sizes) != len(multiple) or any(size % unit for size, unit in zip(sizes, multiple, strict=True)):
        raise ValueError(f"sizes ({axes}) {sizes} must be multiples of {tuple(multiple)}")
    # The variance of a single value is 0, and PyTorch refuses to divide by it.
    if batch_norm and image.shape[0] == 1 and sizes == tuple(multiple):
        raise ValueError(f"sizes ({axes}) {sizes} leave one voxel at the coarsest level, too few to train a batch "
                         "norm: expected a larger patch or a batch of two or more")


def every_axis(strides: Sequence[int | Sequence[int]], axes: int) -> list[tuple[int, ...]]:
    """Strides with one number for every axis, however short they were written. Raises ValueError for other lengths."""
    full = []
    for stride in strides:
        numbers = (stride,) * axes if isinstance(stride, int) else tuple(stride)
        if len(numbers) != axes:
            raise ValueError(f"expected {axes} numbers for each level, found {list(numbers)}")
        full.append(numbers)
    return full


def total_stride(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The product of the levels' strides along each axis."""
    return tuple(math.prod(along) for along in zip(*strides, strict=True))
