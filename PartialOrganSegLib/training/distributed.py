"""Several processes (`torchrun`) that compute exactly what one process with the batch of all would.

Outputs and targets of all processes are gathered, every process computes the loss of the whole batch, and each
contributes the gradient through its own part; the gradients' sum is the whole gradient. Averaging the losses of parts
would be another loss: Dice, the prior term and sampled voxels do not add up over parts of a batch.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

# Processes wait while one resamples the cases.
PATIENCE = timedelta(hours=6)
_RUNS = itertools.count()  # of this process; the others have as many


@dataclass(frozen=True)
class Processes:
    """This process's `rank` among `size`."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def gather(self, part: torch.Tensor) -> torch.Tensor:
        """(B, ...) of every process, in rank order, as (size * B, ...); differentiable in this process's own part."""
        if self.size == 1:
            return part
        gathered: torch.Tensor = _Gather.apply(part, self.rank, self.size)  # type: ignore[no-untyped-call]  # PyTorch's
        return gathered

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Every parameter's gradient becomes the sum over processes."""
        if self.size > 1:
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            # One message for all of them: each costs a round trip.
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            dist.all_reduce(flat)
            for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def any(self, value: bool, device: torch.device) -> bool:
        """Whether `value` is true in any process. Every process has to ask."""
        if self.size == 1:
            return value
        return bool(self.sum(torch.tensor(int(value), device=device)))

    def wait(self) -> None:
        """Until every process has come this far."""
        if self.size > 1:
            dist.barrier()

    def local_device(self, device: torch.device) -> torch.device:
        """Each process's own GPU, where the device names none."""
        if device.type == "cuda" and device.index is None and self.size > 1:
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", self.rank)))
        return device


class _Gather(torch.autograd.Function):
    """Concatenates the parts of all processes; the gradient of each is what lies at its own place."""

    @staticmethod
    def forward(context: Any, part: torch.Tensor, rank: int, size: int) -> torch.Tensor:
        context.rank, context.count = rank, len(part)
        part = part.contiguous()
        parts = [torch.empty_like(part) for _ in range(size)]
        dist.all_gather(parts, part)
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        start = context.rank * context.count
        return gradient[start:start + context.count], None, None


@contextlib.contextmanager
def started(device: torch.device) -> Iterator[Processes]:
    """The processes that `torchrun` started, connected; a single one where it was not used."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1 or "RANK" not in os.environ:
        yield Processes()
        return
    processes = Processes(int(os.environ["RANK"]), size)
    local = processes.local_device(device)
    if local.type == "cuda":
        torch.cuda.set_device(local)
    store, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))  # type: ignore[attr-defined]  # not said to be exported
    # Processes that train one run after the other (folds) would find each other's addresses of the run before.
    store = dist.PrefixStore(f"run {next(_RUNS)}", store)  # type: ignore[attr-defined]  # nor is this
    dist.init_process_group("nccl" if local.type == "cuda" else "gloo", store=store, rank=rank, world_size=size,
                            timeout=PATIENCE)
    try:
        yield processes
        # The run is over for all when the first has written the model. It also empties gloo's threads: one that still
        # held a tensor while Python shuts down would abort the process.
        processes.wait()
    finally:
        dist.destroy_process_group()
