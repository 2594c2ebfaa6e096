"""Losses by name, as recipes give them. A new one is a class with `@LOSSES.register` in a file of its own.

A loss is an `nn.Module` whose `forward` takes a `Supervision` batch and gives a scalar. Ours are imported by
`losses/__init__.py`; others' are named in a recipe as `my_package.module:Class` or registered by an entry point.
"""

from __future__ import annotations

from torch import nn

from ..registry import Registry

LOSSES: Registry[type[nn.Module]] = Registry("loss", group="partialorganseg.losses", base=nn.Module)
