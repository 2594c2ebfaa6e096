"""A small study to evaluate: label maps of two organs on one grid, and the scores that come of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from PartialOrganSegLib.imaging.volume import Grid, Volume

GRID = Grid((12, 10, 8), (1.5, 1.5, 4.0), (-5.0, 7.0, -30.0))


def labels(shift: int = 0, organs: tuple[int, ...] = (1, 2)) -> Volume:
    """A cuboid an organ, moved along x."""
    array = np.zeros(GRID.shape, np.uint8)
    for place, organ in enumerate(organs):
        array[2:6, 1 + 4 * place:4 + 4 * place, 2 + shift:7 + shift] = organ
    return Volume(array, GRID)


def scores(folder: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """The lines of `scores.csv` in `folder`, by model, case and structure."""
    with open(folder / "scores.csv", encoding="utf-8", newline="") as stream:
        return {(row["model"], row["case"], row["structure"]): row for row in csv.DictReader(stream)}
