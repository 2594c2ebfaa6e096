"""A reporter that remembers warnings and progress."""

from __future__ import annotations

from PartialOrganSegLib.errors import Problem
from PartialOrganSegLib.events import Reporter


class Listener(Reporter):
    """`warnings` in their order; `steps`: (step, total) of every progress."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.steps: list[tuple[int, int]] = []

    def warning(self, message: str | Problem) -> None:
        self.warnings.append(str(message))

    def progress(self, stage: str, step: int, total: int) -> None:
        self.steps.append((step, total))
