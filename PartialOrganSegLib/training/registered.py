"""Whether what a recipe names is registered and takes the arguments given; asked when the recipe is read.

Each function gives back what it was given and raises ValueError, as validators do, with the nearest name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

from ..errors import UserError
from ..losses import LOSSES
from ..networks import GIVEN as GIVEN_TO_NETWORKS
from ..networks import NETWORKS
from ..registry import Registry, check_arguments
from .hooks import HOOKS
from .optimisers import GIVEN as GIVEN_TO_OPTIMISERS
from .optimisers import OPTIMISERS
from .schedules import SCHEDULES

Arguments = dict[str, object]
GIVEN_TO_SCHEDULES = ("steps",)


def registered_network(name: str) -> str:
    """A network's name."""
    return _registered(NETWORKS, name)


def registered_optimiser(name: str) -> str:
    """An optimiser's name."""
    return _registered(OPTIMISERS, name)


def registered_schedule(name: str) -> str:
    """A schedule's name."""
    return _registered(SCHEDULES, name)


def registered_losses(weights: dict[str, float]) -> dict[str, float]:
    """Losses' names with their weights."""
    for name in weights:
        _registered(LOSSES, name)
    return weights


def network_arguments(name: str | None, arguments: Arguments) -> Arguments:
    """Those of a network. `name` None: it was refused already."""
    return _checked(NETWORKS, name, arguments, GIVEN_TO_NETWORKS)


def optimiser_arguments(name: str | None, arguments: Arguments) -> Arguments:
    """Those of an optimiser; see `network_arguments`."""
    return _checked(OPTIMISERS, name, arguments, GIVEN_TO_OPTIMISERS)


def schedule_arguments(name: str | None, arguments: Arguments) -> Arguments:
    """Those of a schedule; see `network_arguments`."""
    return _checked(SCHEDULES, name, arguments, GIVEN_TO_SCHEDULES)


def known_loss_arguments(arguments: dict[str, Arguments]) -> dict[str, Arguments]:
    """Those of losses by name. What the library adds, as the prior's q, may be missing."""
    for name, loss_arguments in arguments.items():
        with _as_value_error():
            check_arguments(LOSSES.find(name, ""), loss_arguments, name, complete=False)
    return arguments


def known_hooks(hooks: dict[str, Arguments]) -> dict[str, Arguments]:
    """Hooks by name with their arguments."""
    for name, arguments in hooks.items():
        with _as_value_error():
            check_arguments(HOOKS.find(name, ""), arguments, name)
    return hooks


def _registered(registry: Registry[Any], name: str) -> str:
    with _as_value_error():
        registry.find(name, "")
    return name


def _checked(registry: Registry[Any], name: str | None, arguments: Arguments,
             library_arguments: Collection[str]) -> Arguments:
    if name is not None:
        with _as_value_error():
            check_arguments(registry.find(name), arguments, "", library_arguments, complete=False)
    return arguments


@contextlib.contextmanager
def _as_value_error() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise ValueError(str(error)) from None
