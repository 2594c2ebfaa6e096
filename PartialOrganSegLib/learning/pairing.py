"""Which CT something was drawn on: by name, by folder, by where its voxels lie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..datasets.case_names import case_names
from ..errors import Code, Problem
from ..formats.registry import stem_of
from ..formats.strokes_image import drawn_on
from ..imaging.volume import ROUNDED_MM
from .case_names import unique_names, words_of
from .series import CtImage
from .survey import Drawing, Form, Survey


@dataclass
class PairedCase:
    """A CT with what was drawn on it. `how`: by what each drawing was paired with it."""

    name: str
    ct: CtImage
    drawings: list[Drawing] = field(default_factory=list)
    how: list[str] = field(default_factory=list)


def pair(survey: Survey) -> tuple[list[PairedCase], list[Problem]]:
    """Every CT of a survey with its drawings, and a problem for each drawing of which it is not clear whose it is.

    A drawing belongs to the CT of its series; else to the one whose name is in its own or in its folder's; else to the
    only one in its folder, or in the nearest above, and of several there to the one whose file's name is in its own;
    else to the only one with the same grid. One whose grid is that of no CT is refused: an unnoticed shift would teach
    a wrong place. So is one that is called after a CT and lies beside another, unless the name is a number only:
    "liver_2" beside a patient's only CT is a second liver, not patient 2's.
    """
    # The folder itself may be given as ".".
    names = unique_names(case_names([Path(os.path.abspath(ct.path)) for ct in survey.cts]))
    cases = [PairedCase(name, ct) for name, ct in zip(names, survey.cts, strict=True)]
    problems = []
    for drawing in survey.drawings:
        owner, how = _owner(drawing, cases, survey.folder)
        if isinstance(owner, Problem):
            problems.append(owner)
        else:
            owner.drawings.append(drawing)
            owner.how.append(how)
    return cases, problems


def _owner(drawing: Drawing, cases: Sequence[PairedCase], folder: Path) -> tuple[PairedCase | Problem, str]:
    """The case that a drawing belongs to and by what, or why none does."""
    series_uid = _series_of(drawing)
    same_series = [case for case in cases if series_uid and case.ct.series_uid == series_uid]
    if len(same_series) == 1:
        if drawing.form is Form.STROKES and not _fits(drawing, same_series[0].ct):
            return _another_grid(drawing, same_series[0]), ""
        return same_series[0], "series"
    # A stroke file says little of the voxels, structures nothing: they fit wherever nothing speaks against it.
    fitting = [case for case in cases if _fits(drawing, case.ct)]
    named = _named(drawing, cases, folder)
    beside = [case for case in cases if drawing.path.parent in (case.ct.path, case.ct.path.parent)]
    if len(beside) == 1 and named and beside[0] not in named and drawing.form is not Form.STROKES:
        if not all(word.isdecimal() for case in named for word in words_of(case.name)):
            return Problem(Code.CASE_UNPAIRED, str(drawing.path), f"a drawing on {beside[0].name}, beside which it "
                           "lies", f"one that is called after {named[0].name}", "put it beside its CT"), ""
        named = []
    for candidates, how in ((named, "name"), (_nearest(drawing.path, cases, folder), "folder")):
        on_grid = [case for case in candidates if case in fitting]
        if len(on_grid) == 1:
            return on_grid[0], how
        # The name or the folder is plain, and the voxels say otherwise: that is a mistake, not another CT's mask.
        if len(candidates) == 1 and not on_grid:
            return _another_grid(drawing, candidates[0]), ""
        # Where several patients have a CT "late", the cases are "a_late" and "b_late", and the masks "late_liver".
        if how == "folder":
            called = _called_after(drawing, on_grid, [stem_of(case.ct.path) for case in on_grid], folder)
            if len(called) == 1:
                return called[0], "name"
    if drawing.grid is not None and len(fitting) == 1:
        return fitting[0], "geometry"
    if len(fitting) > 1:
        listed = ", ".join(case.name for case in fitting[:3])
        return Problem(Code.CASE_UNPAIRED, str(drawing.path), "a name or folder that says on which CT it was drawn",
                       f"one that fits {listed}", "put both into a folder of their own"), ""
    return Problem(Code.CASE_UNPAIRED, str(drawing.path), "the CT that it was drawn on", "none in the folder"), ""


def _series_of(drawing: Drawing) -> str:
    """The identifier of the series that a drawing says it is of, else empty."""
    if drawing.structures is not None:
        return drawing.structures.series_uid
    if drawing.strokes is not None:
        return drawing.strokes.series_uid or ""
    return ""


def _fits(drawing: Drawing, ct: CtImage) -> bool:
    """Whether a drawing may lie on the voxels of a CT."""
    # Where either is empty nobody knows; a CT that was saved as a file has lost its series' identifier.
    if _series_of(drawing) and ct.series_uid and _series_of(drawing) != ct.series_uid:
        return False
    if drawing.grid is not None:
        return drawing.grid.order_of(ct.grid, ROUNDED_MM) is not None
    if drawing.strokes is not None:
        strokes = drawing.strokes
        return strokes.size is None or tuple(strokes.size) == tuple(ct.grid.size)
    return True


def _another_grid(drawing: Drawing, case: PairedCase) -> Problem:
    expected, actual = f"the geometry of {case.ct.path.name}", ""
    if drawing.grid is not None:
        expected += f", {case.ct.grid.differing_from(drawing.grid)}"
    elif _series_of(drawing) and case.ct.series_uid and _series_of(drawing) != case.ct.series_uid:
        kind = "structures" if drawing.strokes is None else "strokes"
        expected = f"{kind} of the series {case.ct.series_uid} in {case.ct.path.name}"
        actual = f"such of {_series_of(drawing)}"
    elif drawing.strokes is not None:
        expected, actual = f"strokes on {case.ct.grid.size} voxels", str(drawing.strokes.size)
    return Problem(Code.GEOMETRY_DIFFERS, str(drawing.path), expected, actual)


def _named(drawing: Drawing, cases: Sequence[PairedCase], folder: Path) -> list[PairedCase]:
    """The cases whose name is in a drawing's file name or in its folder's: those with the longest such name.

    Strokes say on which image they were drawn, which goes before what their file is called.
    """
    if drawing.form is Form.STROKES and drawing.strokes is not None:
        stated = [case for case in cases if drawing.strokes.image and _states(drawing, case)]
        if len(stated) == 1:
            return stated
    return _called_after(drawing, cases, [case.name for case in cases], folder)


def _called_after(drawing: Drawing, cases: Sequence[PairedCase], names: Sequence[str],
                  folder: Path) -> list[PairedCase]:
    """The cases whose name, of `names`, is in a drawing's file name or in its folder's: those with the longest such."""
    # The file's own name says more than its folder's: in "masks/liver_2.nii.gz" it is the CT "liver_2".
    places = [stem_of(drawing.path)]
    if drawing.path.parent != folder:
        places.append(drawing.path.parent.name)
    for place in places:
        words = words_of(place)
        lengths = [_row_in(words_of(name), words) for name in names]
        longest = max(lengths, default=0)
        if longest:
            return [case for case, length in zip(cases, lengths, strict=True) if length == longest]
    return []


def _states(drawing: Drawing, case: PairedCase) -> bool:
    assert drawing.strokes is not None
    words = words_of(Path(drawing.strokes.image.replace("\\", "/")).as_posix())
    return drawn_on(drawing.strokes, case.ct.path) and _row_in(words_of(case.name), words) > 0


def _row_in(row: Sequence[str], words: Sequence[str]) -> int:
    """The length of a row of words where it stands among others, else 0."""
    for start in range(len(words) - len(row) + 1):
        if row and list(words[start:start + len(row)]) == list(row):
            return len(row)
    return 0


def _nearest(path: Path, cases: Sequence[PairedCase], folder: Path) -> list[PairedCase]:
    """The cases in a drawing's folder, or in the nearest above it that has any, within the folder looked at."""
    place = path.parent
    while True:
        # A DICOM series is its folder, so that its structures may lie in it or beside it.
        beside = [case for case in cases if case.ct.path == place or case.ct.path.parent == place]
        if beside or place == folder or place == place.parent:
            return beside
        place = place.parent
