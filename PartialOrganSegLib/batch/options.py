"""How a run over many CTs is done, checked once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import Code, UsageError
from .run_table import NAME as TABLE
from .sharding import Shard


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """`output`: the folder of the results. `resume`: skip CTs that are finished: same content, model and settings.
    `shard`: only the K-th of N parts, also as text "3/16". `ray`: the address of a Ray cluster, "local" for this
    computer, "auto" or HOST:PORT. `workers`: how many CTs at a time, each in a process of its own (default: here see
    `workers.plan`, on a cluster one a GPU, else one for four cores). `time_limit` (minutes) and `memory_limit` (GiB) of
    each CT: one that takes more fails, and the others go on.

    Raises UsageError for a value that cannot be.

    >>> BatchOptions(output="results", shard="3/16").shard
    Shard(number=3, count=16)
    """

    output: Path
    resume: bool = False
    shard: Shard | str | None = None
    ray: str | None = None
    workers: int | str | None = None
    time_limit: float | None = None
    memory_limit: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.output, (str, os.PathLike)):
            raise UsageError(code=Code.VALUE_UNFIT, subject="output", expected="a folder", found=f"{self.output!r}")
        object.__setattr__(self, "output", Path(self.output))
        if isinstance(self.shard, str):
            try:
                object.__setattr__(self, "shard", Shard.parse(self.shard))
            except ValueError as error:
                raise UsageError(code=Code.VALUE_UNFIT, subject="shard", found=error) from None
        if self.workers is not None:
            text = str(self.workers)
            if not text.isascii() or not text.isdigit() or int(text) < 1:
                raise UsageError(code=Code.VALUE_OUT_OF_RANGE, subject="workers", expected="a number from 1",
                                 found=f"'{text}'")
            object.__setattr__(self, "workers", int(text))
        for name in ("time_limit", "memory_limit"):
            object.__setattr__(self, name, _limit(name, getattr(self, name)))

    @property
    def resumes(self) -> bool:
        """Whether finished CTs are skipped: when asked for, in shards and on a cluster."""
        return bool(self.resume or self.shard or self.ray)

    @property
    def limited(self) -> bool:
        """Whether a CT may take only so much."""
        return self.time_limit is not None or self.memory_limit is not None

    def keeps_table(self, inputs: int) -> bool:
        """Whether a run of so many inputs writes a run table: of many, or where there is one that must stay true."""
        return inputs > 1 or self.resumes or (self.output / TABLE).is_file()


def _limit(name: str, value: object) -> float | None:
    """A limit above 0, from a number or its text. Raises UsageError."""
    if value is None:
        return None
    try:
        number = float(str(value))
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        unit = "minutes" if name == "time_limit" else "GiB"
        raise UsageError(code=Code.VALUE_OUT_OF_RANGE, subject=name, expected=f"a number of {unit} above 0",
                         found=f"'{value}'")
    return number
