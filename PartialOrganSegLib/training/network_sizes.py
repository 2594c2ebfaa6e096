"""The sizes that a network takes."""

from __future__ import annotations

from typing import cast

from torch import nn


def size_multiple_of(network: nn.Module) -> tuple[int, int, int]:
    """What sizes (z, y, x) of a network's input must be multiples of; `build_network` saw to it that there is one."""
    return cast(tuple[int, int, int], network.size_multiple)


def slices_of(network: nn.Module) -> int | None:
    """How many slices a 2.5D network looks at for one of its output; None for all other networks."""
    return cast("int | None", getattr(network, "slices", None))
