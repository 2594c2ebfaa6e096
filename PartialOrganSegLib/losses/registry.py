"""Losses by name, as recipes give them. A new one is a class with `@LOSSES.register` in a file of its own.

A loss is an `nn.Module` called `loss(logits, targets)`, with `logits` (B, C, *spatial) and `Targets`, that gives a
scalar. `Supervision.of(logits, targets)` has what several losses need, computed once for all. Ours are imported by
`losses/__init__.py`; anybody's is named in a recipe as `my_package.module:Class` or registered by an entry point.
"""

from __future__ import annotations

from torch import nn

from ..registry import Registry

LOSSES: Registry[type[nn.Module]] = Registry("loss", group="partialorganseg.losses", base=nn.Module)
