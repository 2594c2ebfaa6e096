"""Holds the files of section Export against the masks that they were written from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from PartialOrganSegLib.formats.drawn_structures import read_structures
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.imaging.volume import Grid


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Of two masks; nan for two empty ones."""
    total = np.count_nonzero(first) + np.count_nonzero(second)
    if not total:
        return float("nan")
    return 2 * np.count_nonzero(first & second) / total


def differences(folder: Path, masks: Mapping[str, np.ndarray], grid: Grid) -> dict[str, object]:
    """What the NIfTI, the DICOM SEG and the structure set in `folder` differ by from `masks`, in words by what is said.

    `masks`: bool (z, y, x) by organ, in the order of the export, on the CT's canonical `grid`.
    """
    labels = read_labelmap(next(folder.glob("*.labels.nii.gz"))).canonical()
    figures: dict[str, object] = {"NIfTI: voxels that differ": sum(
        int(np.count_nonzero((labels.array == number) != mask)) for number, mask in enumerate(masks.values(), 1))}
    for kind in ("seg", "rtstruct"):
        structures = read_structures(next(folder.glob(f"*.{kind}.dcm")))
        worst, name_of_worst, differing = 1.0, "", 0
        read = list(structures.masks(grid))
        for (name, mask), expected in zip(read, masks.values(), strict=True):
            agreement = dice(mask, expected)
            differing += int(np.count_nonzero(mask != expected))
            if agreement < worst:
                worst, name_of_worst = agreement, f" ({name})"
        figures[f"{kind}: {len(read)} organs, least Dice, differing voxels"] = \
            f"{worst:.4f}{name_of_worst}, {differing}"
    return figures
