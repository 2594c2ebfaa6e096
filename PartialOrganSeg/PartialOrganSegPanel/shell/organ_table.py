"""Tables of the panel: headers, cells with tooltips, and organ tables with a coloured name and a key in each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import qt

ROW_MARGIN = 6  # pixels above and below a row's letters, together
NAME = 0  # column of the organ


@dataclass(frozen=True)
class Cell:
    """A text with its tooltip; a `number` stands on the right."""

    text: str
    tip: str
    number: bool = False


@dataclass(frozen=True)
class OrganLine:
    """A row: what is selected by it (`key`), the organ's colour (RGB in 0-255), its cells; the first is its name."""

    key: str
    colour: tuple[int, int, int]
    cells: Sequence[Cell]


def prepare(table: qt.QTableWidget, titles: Sequence[str], stretched: Sequence[int]) -> None:
    """Headers and widths, once: the `stretched` columns take what the others leave."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    header = table.horizontalHeader()
    for column in range(len(titles)):
        mode = qt.QHeaderView.ResizeToContents
        if column in stretched:
            mode = qt.QHeaderView.Stretch
        header.setSectionResizeMode(column, mode)
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + ROW_MARGIN)


def put(table: qt.QTableWidget, row: int, column: int, cell: Cell) -> qt.QTableWidgetItem:
    """Shows a cell, in the item that is there already if there is one."""
    # a new item would lose the selection and the place of the scroll bar
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem()
        table.setItem(row, column, item)
    item.setText(cell.text)
    item.setToolTip(cell.tip)
    if cell.number:
        item.setData(qt.Qt.TextAlignmentRole, int(qt.Qt.AlignRight) | int(qt.Qt.AlignVCenter))
    return item


def fill(table: qt.QTableWidget, lines: Sequence[OrganLine], selected: str) -> None:
    """Shows the lines and selects the row with the key `selected`, without a signal."""
    # else a section would take the change for the user's and refresh the panel, which fills the table
    table.blockSignals(True)
    table.setRowCount(len(lines))
    for row, line in enumerate(lines):
        for column, cell in enumerate(line.cells):
            put(table, row, column, cell)
        name = table.item(row, NAME)
        name.setData(qt.Qt.UserRole, line.key)
        name.setData(qt.Qt.DecorationRole, qt.QColor(*line.colour))
    at = next((row for row, line in enumerate(lines) if line.key == selected), -1)
    if at != table.currentRow():
        table.setCurrentCell(at, NAME)
    table.blockSignals(False)


def chosen(table: qt.QTableWidget) -> str:
    """Key of the current row, empty when there is none."""
    item = table.item(table.currentRow(), NAME)
    if item is None:
        return ""
    return item.data(qt.Qt.UserRole)
