"""Settings of a process that its libraries leave as they are for small programs, and that cost a large one time."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys

# PyTorch's name for "ask for large pages for tensors of 2 MB and more"; it has an effect on Linux alone.
_LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
# OpenMP's name for what threads do that wait for others: spin or sleep. Its library looks once, when it is loaded.
WAIT_POLICY, _SLEEP = "OMP_WAIT_POLICY", "passive"
# New objects between two searches for garbage. Python's 700 mean a thousand searches while PyTorch is imported, which
# find nothing.
_NEW_OBJECTS = 20_000
# glibc's number for "blocks from this size on go back to the system as soon as they are free", and the size in bytes.
_BLOCK_SIZE, _LARGE_BLOCK = -3, 4 << 20


def ask_for_large_pages() -> None:
    """Makes PyTorch ask for memory in large pages, unless the user's environment decides otherwise ("0").

    Every layer's output is memory that the system has to hand out anew. In pages of 4 kB, the default, that takes a
    fifth of the time of a network on a CPU; in pages of 2 MB next to nothing. The values are the same. PyTorch looks
    once, when the first tensor is made: later calls change nothing.
    """
    os.environ.setdefault(_LARGE_PAGES, "1")


def let_threads_sleep() -> None:
    """Makes PyTorch's threads sleep while they wait for one another, unless the user's environment decides otherwise.

    Threads that spin hold the cores that the others wait for where a neighbour is busy: a training step took up to
    twenty times as long. Asleep they have to be woken, which takes microseconds, and all cores can be used whatever the
    load. Call it before PyTorch is imported. On Windows and macOS, whose OpenMP is another one, nothing was measured
    and nothing is changed.
    """
    if sys.platform == "linux":
        os.environ.setdefault(WAIT_POLICY, _SLEEP)


def threads_sleep() -> bool:
    """Whether PyTorch's threads sleep while they wait, as far as the environment says."""
    return sys.platform == "linux" and os.environ.get(WAIT_POLICY, "").lower() == _SLEEP


def give_back_large_blocks() -> None:
    """Memory of 4 MB and more goes back to the system at once: 50 MiB less for a window of a network.

    The C library of Linux keeps up to 64 MB for each thread otherwise. Elsewhere this does nothing.
    """
    if sys.platform != "linux":
        return
    # Another library than glibc has no such function.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_BLOCK_SIZE, _LARGE_BLOCK)


def collect_garbage_less_often() -> None:
    """Saves a tenth of the time of importing PyTorch."""
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


def leave_garbage() -> None:
    """What is alive now is searched no more: it goes with the process, which ends. Saves 0.4 s where PyTorch was
    imported."""
    gc.freeze()
