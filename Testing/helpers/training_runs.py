"""Short trainings for tests, and what they leave."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import torch

from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.training.recipe import load_recipe
from PartialOrganSegLib.training.trainer import train


class AtStep(Reporter):
    """Calls `act` when so many steps of training are done."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self._step, self._act = step, act

    def progress(self, stage: str, step: int, total: int) -> None:
        if stage == "training" and step == self._step:
            self._act()


def terminate() -> None:
    """Asks this process to end, as a scheduler does."""
    signal.raise_signal(signal.SIGTERM)


def run(recipe: Path, folder: Path, *overrides: str, resume: bool = False, reporter: Reporter | None = None) -> Path:
    """Trains on the CPU by a recipe's file; gives the run folder."""
    train(load_recipe(recipe, overrides), folder, resume, "cpu", reporter)
    return folder


def log_of(folder: Path) -> list[dict]:
    """The log without its clocks."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    for line in lines:
        for clock in ("seconds", "waited", "processor"):
            line.pop(clock, None)
    return lines


def state_of(folder: Path) -> dict:
    """The last checkpoint of a run."""
    return torch.load(folder / "checkpoints" / "last.pt", weights_only=True)


def equal_weights(first: dict, second: dict) -> bool:
    """Whether two networks' weights are equal to the last bit."""
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
