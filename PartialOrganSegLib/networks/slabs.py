"""A decoder's first convolution slab by slab: what it reads is never there as a whole.

At the finest stage the enlarged features and those of the encoder, put together, are half of a network's memory.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

SLAB = 16  # slices at a time; of 8, in float32, PyTorch would not give the enlarging to oneDNN, and they overlap more


def joined_in_slabs(enlarge: nn.Module, convolution: nn.Module, coarse: torch.Tensor,
                    skip: torch.Tensor) -> torch.Tensor:
    """`convolution(torch.cat([enlarge(coarse), skip], 1))`, of volumes and without gradients.

    `enlarge`: a transposed convolution whose kernel is its stride, from `coarse` (B, C, z, y, x) to the size of `skip`.
    `convolution`: an `nn.Conv3d` of stride 1 that keeps the size. The values are those of the whole.
    """
    conv, stride = cast(nn.Conv3d, convolution), cast(nn.ConvTranspose3d, enlarge).stride[0]
    depth = skip.shape[2]
    padding = [size // 2 for size in conv.kernel_size]
    margin = padding[0]
    result: torch.Tensor | None = None
    for start in range(0, depth, SLAB):
        stop = min(start + SLAB, depth)
        # The slices that the convolution reads, and the coarse ones that these are enlarged from.
        low, high = max(0, start - margin), min(depth, stop + margin)
        first, last = low // stride, -(-high // stride)
        enlarged = enlarge(coarse[:, :, first:last])[:, :, low - first * stride:high - first * stride]
        data = torch.cat([enlarged, skip[:, :, low:high].to(enlarged.dtype)], 1)
        beyond = (margin - (start - low), margin - (high - stop))  # slices that the volume does not have
        if any(beyond):
            data = F.pad(data, (0, 0, 0, 0, *beyond)).contiguous(memory_format=torch.channels_last_3d)
        slab = F.conv3d(data, conv.weight, conv.bias, padding=(0, *padding[1:]))
        if result is None:
            batch, channels, _, *plane = slab.shape
            result = torch.empty((batch, channels, depth, *plane), dtype=slab.dtype,
                                 memory_format=torch.channels_last_3d)
        result[:, :, start:stop] = slab
    assert result is not None
    return result
