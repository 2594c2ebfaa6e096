"""Which organs the values of a map of strokes are, where a table beside it says so: models number their organs in ways
of their own."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ..errors import Code, UserError
from ..formats.strokes import NOT_DRAWN
from ..imaging.volume import Volume
from ..organs import BACKGROUND, LabelSpace

STROKES_ENDING, NAMES_ENDING = ".scribble.nii.gz", ".scribble.csv"  # as a correction keeps its strokes


def in_values_of(label_space: LabelSpace, drawn: Volume, file: Path) -> Volume:
    """The strokes `drawn` of a `file`, in the values of `label_space`; as they are where no table lies beside the file.

    Raises UserError for strokes of an organ that `label_space` lacks.
    """
    if not file.name.endswith(STROKES_ENDING):
        return drawn
    names = _names_in(file.with_name(file.name.removesuffix(STROKES_ENDING) + NAMES_ENDING))
    if not names:
        return drawn
    value_of = np.arange(max(256, int(drawn.array.max(initial=0)) + 1))
    for value in np.unique(drawn.array).tolist():
        if value in (0, NOT_DRAWN):
            continue
        organ = names.get(value, "")
        if organ not in label_space.names:
            raise UserError(code=Code.UNKNOWN_LABEL, subject=file, found=f"one of {organ or value}",
                            expected=f"strokes of the organs of {label_space.name}")
        value_of[value] = label_space.index(organ)
    return Volume(value_of[drawn.array], drawn.grid)


def _names_in(table: Path) -> dict[int, str]:
    """Value to organ; empty where there is no such table."""
    try:
        with open(table, encoding="utf-8", newline="") as stream:
            return {int(row["value"]): row["organ"] for row in csv.DictReader(stream) if row["organ"] != BACKGROUND}
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, csv.Error):  # somebody's own table
        return {}
