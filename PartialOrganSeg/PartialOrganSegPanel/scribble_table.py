"""The organ table of section Scribble: an organ a row with what is drawn of it; the background comes last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import qt
from slicer.i18n import tr as _

NAME, SLICES, VOXELS, HERE = range(4)


@dataclass(frozen=True)
class StrokeLine:
    """What one row shows. `colour` is RGB in 0-255; `slices` are numbers of axial slices, `here` voxels on this one."""

    key: str
    title: str
    colour: tuple[int, int, int]
    slices: Sequence[int]
    voxels: int
    here: int


def prepare(table: qt.QTableWidget) -> None:
    """Headers and widths, once: the organ takes what the counts leave."""
    table.setColumnCount(4)
    table.setHorizontalHeaderLabels([_("Organ"), _("Slices"), _("Voxels"), _("This slice")])
    header = table.horizontalHeader()
    for column in (SLICES, VOXELS, HERE):
        header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(22)


def fill(table: qt.QTableWidget, lines: Sequence[StrokeLine], selected: str) -> None:
    """Shows the lines and selects the row of `selected`, without telling anyone."""
    table.blockSignals(True)
    table.setRowCount(len(lines))
    for index, line in enumerate(lines):
        name = _cell(table, index, NAME, line.title, line.title)
        name.setData(qt.Qt.UserRole, line.key)
        name.setData(qt.Qt.DecorationRole, qt.QColor(*line.colour))
        numbers = ", ".join(map(str, line.slices))
        slices_tip = _("Slices with a stroke: {numbers}").format(numbers=numbers) if numbers else _("No stroke yet")
        _number(table, index, SLICES, len(line.slices), slices_tip)
        _number(table, index, VOXELS, line.voxels, _("Voxels drawn"))
        _number(table, index, HERE, line.here, _("Voxels drawn on the axial slice in view"))
    at = next((index for index, line in enumerate(lines) if line.key == selected), -1)
    if at != table.currentRow():
        table.setCurrentCell(at, NAME)
    table.blockSignals(False)


def chosen(table: qt.QTableWidget) -> str:
    """The organ (or background) of the current row, empty when there is none."""
    item = table.item(table.currentRow(), NAME)
    return item.data(qt.Qt.UserRole) if item else ""


def _number(table: qt.QTableWidget, row: int, column: int, number: int, tip: str) -> None:
    cell = _cell(table, row, column, str(number) if number else "", tip)
    cell.setData(qt.Qt.TextAlignmentRole, int(qt.Qt.AlignRight) | int(qt.Qt.AlignVCenter))


def _cell(table: qt.QTableWidget, row: int, column: int, text: str, tip: str) -> qt.QTableWidgetItem:
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem()
        table.setItem(row, column, item)
    item.setText(text)
    item.setToolTip(tip)
    return item
