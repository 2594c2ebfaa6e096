"""The one rule about input sizes: every spatial size is a multiple of the network's total stride along it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

AXES = ("z", "y", "x")


def check_sizes(image: torch.Tensor, multiple: Sequence[int]) -> None:
    """Raises ValueError when a spatial size of `image` (B, channels, *spatial) is no multiple of `multiple`."""
    sizes = tuple(image.shape[2:])
    if len(sizes) != len(multiple) or any(size % unit for size, unit in zip(sizes, multiple, strict=True)):
        axes = ", ".join(AXES[-len(multiple):])
        raise ValueError(f"sizes ({axes}) {sizes} must be multiples of {tuple(multiple)}")


def every_axis(strides: Sequence[int | Sequence[int]], axes: int) -> list[tuple[int, ...]]:
    """Strides with one number for every axis, however short they were written. Raises ValueError for other lengths."""
    full = [(stride,) * axes if isinstance(stride, int) else tuple(stride) for stride in strides]
    for stride in full:
        if len(stride) != axes:
            raise ValueError(f"expected {axes} numbers for each level, found {list(stride)}")
    return full


def total_stride(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The product of the levels' strides along each axis."""
    return tuple(math.prod(along) for along in zip(*strides, strict=True))
