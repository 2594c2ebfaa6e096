"""Networks by name. A new architecture is a file here and a line in `NETWORKS`."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ..errors import UserError, nearest
from .light_unet import LightUNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "light_unet": LightUNet,
}


def build_network(name: str, in_channels: int, classes: int, **arguments: object) -> nn.Module:
    """A network by its registered name: (B, in_channels, z, y, x) to logits (B, classes, z, y, x).

    Raises UserError for an unknown name (with the nearest one) or an argument the network does not take.
    """
    if name not in NETWORKS:
        raise UserError(f"network: expected one of {', '.join(NETWORKS)}, found '{name}'{nearest(name, NETWORKS)}")
    try:
        return NETWORKS[name](in_channels=in_channels, classes=classes, **arguments)
    except TypeError as error:
        raise UserError(f"network {name}: {error}") from None
