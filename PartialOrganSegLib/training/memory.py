"""Out of memory in training: which patch would fit, found by trying."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Sequence

import torch
from torch import nn

SMALLER = 0.8  # each trial's longest side, of the one before


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch could not get memory, on the GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def fitting_patch(network: nn.Module, patch: Sequence[int], batch: int, device: torch.device,
                  autocast: contextlib.AbstractContextManager) -> tuple[int, ...] | None:
    """The largest of ever smaller patches (z, y, x) that one step's forward and backward pass fit for; None: none does.

    The network's gradients are lost.
    """
    multiple, size = network.size_multiple, list(patch)
    while any(side > unit for side, unit in zip(size, multiple, strict=True)):
        reach = [side / unit if side > unit else 0 for side, unit in zip(size, multiple, strict=True)]
        axis = max(range(3), key=lambda i: (bool(reach[i]), size[i]))
        size[axis] = max(multiple[axis], int(size[axis] * SMALLER) // multiple[axis] * multiple[axis])
        network.zero_grad(set_to_none=True)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            with autocast:
                outputs = network(torch.zeros(batch, 1, *size, device=device))
            outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
            sum(torch.log_softmax(output.float(), 1).mean() for output in outputs).backward()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            continue
        finally:
            network.zero_grad(set_to_none=True)
        return tuple(size)
    return None
