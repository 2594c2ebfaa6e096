"""A reporter that keeps what it is told."""

from __future__ import annotations

from PartialOrganSegLib.errors import Problem
from PartialOrganSegLib.events import Reporter


class Listener(Reporter):
    """`warnings` in their order; `done` of `total` of every progress."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.done: list[tuple[int, int]] = []

    def warning(self, message: str | Problem) -> None:
        self.warnings.append(str(message))

    def progress(self, stage: str, done: int, total: int) -> None:
        self.done.append((done, total))
