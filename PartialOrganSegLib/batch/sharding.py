"""A run cut into shards that need not know of each other, e.g. the tasks of a Slurm array."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Shard `number` of `count`, from 1."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From `3/16`. Raises ValueError."""
        # ASCII: \d would also take the digits of other scripts and superscripts.
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip(), re.ASCII)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(f"expected K/N with K from 1 to N, e.g. 3/16, found '{text}'")
        return cls(int(match[1]), int(match[2]))

    def of(self, items: Sequence[T]) -> list[T]:
        """This shard's items: every `count`th, so that neighbours of one size or scanner are spread.

        Over all shards each item comes exactly once, as long as every shard is given the same items in the same order.
        """
        return list(items[self.number - 1::self.count])
