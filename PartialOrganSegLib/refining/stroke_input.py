"""Strokes however they come, painted onto the CT that they are to correct; what does not fit it is one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import Code, UserError
from ..formats.reading import read_labelmap
from ..formats.registry import is_volume_name, volume_suffixes
from ..formats.strokes import NOT_DRAWN, Strokes, read_strokes, stroke_voxels
from ..imaging.volume import ROUNDED_MM, Grid, Volume
from ..organs import BACKGROUND, LabelSpace
from .stroke_names import in_values_of

StrokeSource: TypeAlias = Strokes | Volume | Path | str
"""Strokes, their JSON file, or a scribble map (255 where nothing is drawn) as a volume or its file."""

OBJECT = "strokes"  # what lines call strokes that no file holds
SPACING_TOLERANCE = 1e-3  # mm; files are written with fewer digits than headers have
CONTRADICTED_SHARE = 0.5  # of a stroke's voxels: the ends of strokes may overlap, the later one wins there


def painted_strokes(source: StrokeSource, grid: Grid, label_space: LabelSpace, series_uid: str | None = None) -> Volume:
    """A scribble map (z, y, x) uint8 on `grid`: organ indices, 0 for background, 255 where nothing is drawn.

    `series_uid`: of the CT, where it is DICOM. Raises UserError, one line, for strokes of another CT (size, spacing,
    UID), outside of it, thinner than its voxels, of an organ that `label_space` lacks, that contradict one another, and
    for none at all.
    """
    name, strokes = _read(source, label_space)
    if isinstance(strokes, Volume):
        return _checked_map(name, strokes, grid, label_space)
    _check_image(name, strokes, grid, series_uid)
    if not strokes.strokes:
        raise _none(name)
    return Volume(_painted(name, strokes, grid, label_space), grid)


def _read(source: StrokeSource, label_space: LabelSpace) -> tuple[str, Strokes | Volume]:
    """What lines call the source, and what it holds."""
    if isinstance(source, Strokes):
        return OBJECT, source
    if isinstance(source, Volume):
        return OBJECT, source
    if not isinstance(source, (str, os.PathLike)):
        raise UserError(code=Code.VALUE_UNFIT, subject="strokes", expected="a file, Strokes or a Volume",
                        found=type(source).__name__)
    path = Path(source)
    # A .json that is no stroke file, or missing, is best complained of by the reader of stroke files.
    if path.suffix.lower() == ".json":
        return str(path), read_strokes(path)
    if path.is_file() and not is_volume_name(path):
        raise UserError(code=Code.WRONG_FORMAT, subject=path, found="another kind of file",
                        expected=f"a stroke file (.json) or a label map ({', '.join(volume_suffixes())})")
    return str(path), in_values_of(label_space, read_labelmap(path), path)


def _check_image(name: str, strokes: Strokes, grid: Grid, series_uid: str | None) -> None:
    """What the file says of its image must be true of this one."""
    if strokes.series_uid and series_uid and strokes.series_uid != series_uid:
        raise _of_another_ct(name, f"series {series_uid}", f"series {strokes.series_uid}")
    if strokes.size is not None and strokes.size != grid.size:
        raise _of_another_ct(name, _times(grid.size, "voxels"), _times(strokes.size, "voxels"))
    if strokes.spacing is not None and not np.allclose(strokes.spacing, grid.spacing, rtol=0, atol=SPACING_TOLERANCE):
        raise _of_another_ct(name, _times(grid.spacing, "mm"), _times(strokes.spacing, "mm"))


def _of_another_ct(name: str, of_ct: str, of_strokes: str) -> UserError:
    return UserError(code=Code.GEOMETRY_DIFFERS, subject=name, expected=f"strokes of this CT ({of_ct})",
                     found=f"those of another ({of_strokes})")


def _none(name: str) -> UserError:
    return UserError(code=Code.NO_LABELS, subject=name, expected="one stroke or more", found="none")


def _times(numbers: tuple[float, ...], unit: str) -> str:
    return f"{' x '.join(f'{number:.6g}' for number in numbers)} {unit}"


def _painted(name: str, strokes: Strokes, grid: Grid, label_space: LabelSpace) -> npt.NDArray[np.uint8]:
    painted = np.full(grid.shape, NOT_DRAWN, np.uint8)
    places = []
    for number, stroke in enumerate(strokes.strokes):
        try:
            value = label_space.index(stroke.organ)
        except UserError as error:
            raise error.within(f"{name}: stroke {number}") from None
        try:
            voxels = stroke_voxels(strokes, number, grid)
        except UserError as error:
            raise error if name == OBJECT else error.within(name) from None
        if not len(voxels[0]):  # thinner than the voxels, and between two of them; none is left out without a word
            raise UserError(code=Code.NO_LABELS, subject=f"{name}: stroke {number} ({stroke.organ})",
                            expected="a stroke that covers a voxel's centre", found="none", hint="draw it wider")
        painted[voxels] = value
        places.append((voxels, value))
    for number, (voxels, value) in enumerate(places):
        overdrawn = painted[voxels] != value
        if len(overdrawn) and overdrawn.mean() > CONTRADICTED_SHARE:
            label = int(np.bincount(painted[voxels][overdrawn]).argmax())
            names = (BACKGROUND, *label_space.names)
            organ = strokes.strokes[number].organ
            raise UserError(code=Code.SETTINGS_CONFLICT, subject=f"{name}: stroke {number} ({organ})",
                            expected="one organ for a place", found=f"{names[label]} drawn over most of it")
    return painted


def _checked_map(name: str, drawn: Volume, grid: Grid, label_space: LabelSpace) -> Volume:
    drawn = drawn.in_order_of(grid)
    if not drawn.grid.same_as(grid, ROUNDED_MM):
        raise UserError(code=Code.GEOMETRY_DIFFERS, subject=name,
                        expected=f"strokes on the CT's grid, {grid.differing_from(drawn.grid)}")
    drawn_values = drawn.array[drawn.array != NOT_DRAWN]
    if not len(drawn_values):
        raise _none(name)
    if drawn_values.dtype.kind == "f" and not np.array_equal(drawn_values, np.rint(drawn_values)):
        raise UserError(code=Code.UNKNOWN_LABEL, subject=name, expected="whole numbers", found="fractions or NaN")
    # A map of organs with 0 beside them would make background of the whole patient.
    if len(drawn_values) == drawn.array.size:
        raise UserError(code=Code.WRONG_FORMAT, subject=name, expected=f"{NOT_DRAWN} where nothing is drawn",
                        found="a stroke in every voxel", hint="0 is a stroke of background")
    for value in (int(drawn_values.min()), int(drawn_values.max())):
        if not 0 <= value < label_space.class_count:
            expected = f"0..{label_space.class_count - 1} ({label_space.name}) or {NOT_DRAWN} (not drawn)"
            raise UserError(code=Code.UNKNOWN_LABEL, subject=name, expected=expected, found=value)
    return Volume(drawn.array.astype(np.uint8), drawn.grid)
