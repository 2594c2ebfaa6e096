"""The organ table of section Scribble: an organ a row with what is drawn of it; the background comes last."""

from __future__ import annotations

from collections.abc import Sequence

import qt
from slicer.i18n import tr as _

from ..shell import organ_table
from ..shell.organ_table import Cell, OrganLine


def prepare(table: qt.QTableWidget) -> None:
    """Headers and widths, once: the organ takes what the counts leave."""
    organ_table.prepare(table, [_("Organ"), _("Slices"), _("Voxels"), _("This slice")], stretched=(organ_table.NAME,))


def stroke_line(key: str, title: str, colour: tuple[int, int, int], slices: Sequence[int], voxels: int,
                in_view: int) -> OrganLine:
    """An organ or the background: `slices` are numbers of axial slices, `in_view` voxels on the one in view."""
    tip = _("No stroke yet")
    if slices:
        tip = _("Slices with a stroke: {numbers}").format(numbers=", ".join(map(str, slices)))
    return OrganLine(key, colour, (
        Cell(title, title), _count(len(slices), tip), _count(voxels, _("Voxels drawn")),
        _count(in_view, _("Voxels drawn on the axial slice in view"))))


def _count(number: int, tip: str) -> Cell:
    text = ""
    if number:  # a column of zeros would hide what is drawn
        text = str(number)
    return Cell(text, tip, number=True)
