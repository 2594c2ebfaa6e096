"""The CTs of a folder with DICOM images. Of several series in it each is one, and gets a folder of its own in the
output: everything that comes after knows a series by its folder.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import Problem, UserError
from ..events import Reporter
from ..formats.dicom import distinct_slices
from ..formats.dicom_choice import separate_series
from ..formats.dicom_series import Series
from ..formats.dicom_slices import SERIES_NUMBER
from ..formats.reading import read_ct
from ..imaging.shapes import Coordinates
from ..imaging.volume import Grid

# Hidden, so that who reads the user's folder, in which the output may lie, meets no slice twice.
SERIES = ".series"
_SILENT = Reporter()


@dataclass(frozen=True)
class CtImage:
    """A CT: a file or a DICOM folder, and where its voxels lie. `series_uid` of DICOM, else empty; `positions` (n, 3)
    of the series' own slices, see `OwnSlices`. `slices`: the files of a series that lies among others; `path` then is
    what a folder of its own would be called there."""

    path: Path
    grid: Grid
    series_uid: str = ""
    positions: Coordinates | None = field(default=None, compare=False, repr=False)
    slices: tuple[Path, ...] = field(default=(), repr=False)


def cts_of_folder(place: Path, files: Sequence[Path]) -> tuple[list[CtImage], list[Problem]]:
    """The CTs that have slices in this very folder, among its `files`, and why further ones cannot be read. A scout is
    none."""
    cts: list[CtImage] = []
    problems: list[Problem] = []
    try:
        numbered = separate_series(place, _SILENT)
    except UserError as error:
        return [], [error.problem]
    here = set(files)
    for number, series in numbered.items():
        # Those of folders below are found there.
        if not any(ct_slice.file in here for ct_slice in series.slices):
            continue
        name = _name(number, series)
        try:
            cts.append(_ct(place, number, series, name if len(numbered) > 1 else None))
        except UserError as error:
            problems.append(error.problem if len(numbered) == 1 else error.problem.within(name))
    return cts, problems


def _name(number: int, series: Series) -> str:
    """What a folder of its own is called: as 3D Slicer calls it, by number and description."""
    words = f"{series.tag(SERIES_NUMBER)} {series.description}"
    return re.sub(r"[/\\\x00]+", " ", words).strip(" .") or f"series {number}"


def _ct(place: Path, number: int, series: Series, name: str | None) -> CtImage:
    """The CT of a series; `name`: of one among several. Raises UserError for one that cannot be read."""
    ct = read_ct(place, None if name is None else str(number))
    positions = None
    if len(series.slices) > 1:  # else one file holds all of them, evenly
        slices = distinct_slices(place, series, _SILENT)
        positions = np.array([ct_slice.position for ct_slice in slices])
    # Its own: a scout beside it has another one, and structures name the series that they were drawn on.
    if name is None:
        return CtImage(place, ct.grid, series.uid, positions)
    files = tuple(dict.fromkeys(ct_slice.file for ct_slice in series.slices))
    return CtImage(place / name, ct.grid, series.uid, positions, files)


def write_folder(target: Path, slices: Sequence[Path]) -> Path:
    """Makes the folder of a series, of links to its slices, or of copies where the disk is another one; what was in it
    before goes. Gives the folder, which has a number where an earlier one cannot be removed. Raises OSError."""
    shutil.rmtree(target, ignore_errors=True)
    wanted, number = target, 1
    while target.exists():  # Windows removes no link to a file that must not be changed
        number += 1
        target = wanted.with_name(f"{wanted.name} {number}")
    target.mkdir(parents=True)
    for number, file in enumerate(slices, 1):
        name = file.name
        if (target / name).exists():  # slices of several folders may be called alike
            name = f"{number} {name}"
        try:
            os.link(file, target / name)
        except OSError:
            shutil.copyfile(file, target / name)
    return target
