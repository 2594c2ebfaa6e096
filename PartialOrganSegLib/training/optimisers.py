"""Optimisers by name: those of PyTorch that recipes use. Anybody's is `torch.optim:NAdam` or `my_package.module:Class`.

Of a recipe's settings an optimiser gets those whose names are among its arguments: `lr`, `weight_decay`, `momentum`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..registry import Registry

OPTIMISERS: Registry[type[torch.optim.Optimizer]] = Registry("optimiser", group="partialorganseg.optimisers",
                                                             base=torch.optim.Optimizer)
GIVEN = ("params",)  # arguments that no recipe gives
OPTIMISERS.add("adamw", torch.optim.AdamW, "Loshchilov 2019")
OPTIMISERS.add("adam", torch.optim.Adam, "Kingma 2015")


@OPTIMISERS.register("sgd", source="Sutskever 2013")
class NesterovSGD(torch.optim.SGD):
    """Stochastic gradient descent, with Nesterov's momentum where there is one."""

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.0, weight_decay: float = 0.0,
                 maximize: bool = False) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0,
                         maximize=maximize)


OPTIMISERS.add("rmsprop", torch.optim.RMSprop, "Tieleman and Hinton 2012")
