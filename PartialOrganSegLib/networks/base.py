"""What training and segmenting ask of a network beside its logits: sizes that it takes, phases, number of outputs."""

from __future__ import annotations

from typing import ClassVar, TypeAlias, cast

import torch
from torch import nn

Logits: TypeAlias = torch.Tensor | list[torch.Tensor]
"""(B, classes, *spatial), or several of them, finest first."""


class SegmentationNetwork(nn.Module):
    """A network from an image (B, in_channels, *spatial) to logits (B, classes, *spatial).

    In eval mode there is one tensor of logits. In train mode there are `outputs` of them, finest first, in a list where
    there is more than one (deep supervision).

    A network of another package need not be derived from it: `size_multiple` is all that must be there.
    """

    PHASES: ClassVar[tuple[str, ...]] = ()
    """Names of the phases that it trains in, one after the other; most networks have none."""

    size_multiple: tuple[int, ...]
    """What input sizes must be multiples of, along each spatial axis."""

    slices: int | None = None
    """Of a network that sees a volume slice by slice: the number of slices that it sees for one. Otherwise None."""

    _phase = ""

    @property
    def outputs(self) -> int:
        """Number of logits in train mode, which is how many weights deep supervision may be given."""
        return 1

    @property
    def phase(self) -> str:
        """The present one of `PHASES`, empty without any. Setting another raises ValueError."""
        return self._phase

    @phase.setter
    def phase(self, phase: str) -> None:
        if phase not in self.PHASES:
            raise ValueError(f"phase must be one of {', '.join(self.PHASES)}, not '{phase}'")
        self._phase = phase


def size_multiple_of(network: nn.Module) -> tuple[int, ...]:
    """What the sizes of the network's input must be multiples of, along each spatial axis. Raises AttributeError for a
    network of another package that does not say it."""
    return tuple(cast(tuple[int, ...], network.size_multiple))


def slices_of(network: nn.Module) -> int | None:
    """How many slices a network sees for one, None for one of volumes; also of networks of other packages."""
    return cast(int | None, getattr(network, "slices", None))
