"""Out of memory in training: which patch would fit, by trying."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Sequence

import torch
from torch import nn

from ..errors import Code, UserError
from .network_sizes import size_multiple_of

# Each trial's longest side, as a part of the one before.
SMALLER = 0.8


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch could not get memory, on the GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def fitting_patch(network: nn.Module, patch: Sequence[int], batch: int, device: torch.device,
                  autocast: Callable[[], contextlib.AbstractContextManager[object]]) -> tuple[int, ...] | None:
    """The largest of ever smaller patches (z, y, x) that one step's forward and backward pass fit for; None: none does.

    The network's gradients are lost.
    """
    multiple, size = size_multiple_of(network), list(patch)
    while True:
        shrinkable = [axis for axis in range(3) if size[axis] > multiple[axis]]
        if not shrinkable:
            return None
        axis = max(shrinkable, key=lambda axis: size[axis])
        size[axis] = max(multiple[axis], int(size[axis] * SMALLER) // multiple[axis] * multiple[axis])
        network.zero_grad(set_to_none=True)
        # Tensors in reference cycles would count as used.
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            with autocast():
                outputs = network(torch.zeros(batch, 1, *size, device=device))
            outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
            torch.stack([torch.log_softmax(output.float(), 1).mean() for output in outputs]).sum().backward()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            # The next smaller patch is tried.
            continue
        finally:
            network.zero_grad(set_to_none=True)
        return tuple(size)


def no_memory_error(network: nn.Module, patch: Sequence[int], batch: int, device: torch.device,
                    autocast: Callable[[], contextlib.AbstractContextManager[object]]) -> UserError:
    """What to raise where a step of `batch` patches (z, y, x) ran out of memory: it names the largest that fits."""
    fits = fitting_patch(network, patch, batch, device, autocast)
    hint = "no smaller patch fits; expected a smaller network or batch_size"
    if fits:
        hint = f"expected at most {fits}"
    return UserError(code=Code.NO_MEMORY, subject="preprocessing.patch_zyx", hint=hint,
                     found=f"out of memory with {batch} patches of {patch}")
