"""Strokes of the corrections before, which `refine` keeps beside the labels: they go on counting when those labels are
corrected again, and are not lost to whoever teaches a model with them."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np

from ..errors import Code, UserError
from ..formats.reading import read_labelmap
from ..formats.strokes import NOT_DRAWN
from ..formats.volume_table import LABELS_ENDING
from ..imaging.volume import Grid, Volume
from ..organs import BACKGROUND, LabelSpace
from .stroke_input import painted_strokes

STROKES_ENDING, NAMES_ENDING = ".scribble.nii.gz", ".scribble.csv"


def strokes_beside(labels: Path, grid: Grid, label_space: LabelSpace) -> Volume | None:
    """The strokes (z, y, x) uint8 that lie beside a label map of ours, `x.scribble.nii.gz` beside `x.labels.nii.gz`, in
    the values of `label_space`; None where there are none.

    Raises UserError for strokes of another grid or of an organ that `label_space` lacks.
    """
    name = labels.name.removesuffix(LABELS_ENDING)
    file = labels.with_name(name + STROKES_ENDING)
    if name == labels.name or not os.path.isfile(file):
        return None
    drawn = read_labelmap(file)
    names = _names_in(labels.with_name(name + NAMES_ENDING))
    if names:
        value_of = np.arange(max(256, int(drawn.array.max(initial=0)) + 1))
        for value in np.unique(drawn.array).tolist():
            if value in (0, NOT_DRAWN):
                continue
            organ = names.get(value, "")
            if organ not in label_space.names:
                raise UserError(code=Code.UNKNOWN_LABEL, subject=file, found=f"one of {organ or value}",
                                expected=f"earlier strokes of the organs of {label_space.name}",
                                hint="move them to another folder to correct without them")
            value_of[value] = label_space.index(organ)
        drawn = Volume(value_of[drawn.array], drawn.grid)
    try:
        return painted_strokes(drawn, grid, label_space)
    except UserError as error:
        raise error.within(f"{file}, kept from an earlier correction") from None


def _names_in(table: Path) -> dict[int, str]:
    """Value to organ; empty where there is no such table."""
    try:
        with open(table, encoding="utf-8", newline="") as stream:
            return {int(row["value"]): row["organ"] for row in csv.DictReader(stream) if row["organ"] != BACKGROUND}
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, csv.Error):  # somebody's own table
        return {}
