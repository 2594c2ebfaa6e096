"""Soft targets of an invented teacher for the phantoms of `training_data`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from PartialOrganSegLib.datasets.soft_targets import SoftTargets, quantised, write_soft_targets
from PartialOrganSegLib.imaging.volume import Grid
from Testing.helpers.training_data import SPACING_ZYX, write_case, write_yaml

SHAPE = (12, 24, 24)
GRID = Grid(SHAPE[::-1], SPACING_ZYX[::-1])
# A teacher may know fewer organs than the student, and some only together.
CLASSES = (("rest",), ("liver",), ("spleen", "left_kidney"))


def soft_of(labels: np.ndarray, sure: float = 0.9) -> np.ndarray:
    """(3, z, y, x) probabilities of a teacher that knows the liver, and the spleen and the left kidney as one."""
    chosen = np.array([0, 1, 2, 2])[labels]
    return np.where(np.arange(3)[:, None, None, None] == chosen, sure, (1 - sure) / 2)


def write_soft(path: Path, grid: Grid = GRID, probabilities: np.ndarray | None = None,
               classes: tuple[tuple[str, ...], ...] = CLASSES) -> Path:
    if probabilities is None:
        probabilities = soft_of(np.zeros(grid.shape, int))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_soft_targets(path, SoftTargets(quantised(probabilities), grid, classes))
    return path


def manifest_with_soft(folder: Path, *files: str | None) -> Path:
    """Fully labelled cases, each with its own soft targets or none."""
    entries = [write_case(folder, f"case{number}", number) for number in range(len(files))]
    for entry, file in zip(entries, files, strict=True):
        if file is not None:
            entry["soft_targets"] = file
    return write_yaml(folder / "manifest.yaml", {"datasets": [{"name": "blocks", "kind": "full", "cases": entries}]})
