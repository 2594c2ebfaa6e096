"""What a user may decide of a fine-tuning run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import PHANTOMS


@dataclass(frozen=True)
class FinetuneOptions:
    """None and empty leave a decision to the run.

    `minutes` or `steps` limit it. `replay`: "phantoms", "none" or a manifest's path. `validate`: cases or groups of
    them to measure on, or "none". `only_listed`: the model's organs become the manifest's, instead of the start model's
    and the manifest's new ones. `force`: images that do not look like a CT are learnt from all the same. `name`: the
    new model's. `overrides`: "key=value" changes of the recipe. `take_new`: the new model is selected also where it is
    not found to be better. `beside`: the start model stays whole, and a copy of its network that learns answers for
    what is learnt alone; segmenting asks a network more.
    """

    minutes: float | None = None
    steps: int | None = None
    replay: str = PHANTOMS
    validate: Sequence[str] = ()
    only_listed: bool = False
    force: bool = False
    name: str | None = None
    overrides: Sequence[str] = ()
    take_new: bool = False
    beside: bool = False
