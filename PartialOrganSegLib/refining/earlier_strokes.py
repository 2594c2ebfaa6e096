"""Strokes of the corrections before, which `refine` keeps beside the labels: they go on counting when those labels are
corrected again, and are not lost to whoever teaches a model with them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..errors import UserError
from ..formats.reading import read_labelmap
from ..formats.volume_table import LABELS_ENDING
from ..imaging.volume import Grid, Volume
from ..organs import LabelSpace
from .stroke_input import painted_strokes
from .stroke_names import STROKES_ENDING, in_values_of


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
    try:
        drawn = in_values_of(label_space, drawn, file)
    except UserError as error:
        raise UserError(replace(error.problem, expected=f"earlier {error.expected}",
                                hint="move them to another folder to correct without them")) from None
    try:
        return painted_strokes(drawn, grid, label_space)
    except UserError as error:
        raise error.within(f"{file}, kept from an earlier correction") from None
