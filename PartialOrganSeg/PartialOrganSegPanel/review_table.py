"""The organ table of section Review: an organ a row with its colour, name, volume, checks and state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import qt
from slicer.i18n import tr as _

from .segment_table import ABSENT, ACCEPTED, EDITED, PREDICTED, SCRIBBLED

NAME, ML, CHECKS, STATE = range(4)


@dataclass(frozen=True)
class TableLine:
    """What one row shows. `colour` is RGB in 0-1, `ml` None while unknown."""

    segment_id: str
    name: str
    colour: tuple[float, float, float]
    ml: float | None
    checks: tuple[str, ...]
    state: str


def state_text(state: str) -> str:
    """A state in the user's language."""
    return {PREDICTED: _("predicted"), EDITED: _("edited"), SCRIBBLED: _("scribbled"), ACCEPTED: _("accepted"),
            ABSENT: _("absent")}[state]


def prepare(table: qt.QTableWidget) -> None:
    """Headers and widths, once: the checks take what the others leave."""
    table.setColumnCount(4)
    table.setHorizontalHeaderLabels([_("Organ"), _("ml"), _("Checks"), _("State")])
    header = table.horizontalHeader()
    for column in (NAME, ML, STATE):
        header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(CHECKS, qt.QHeaderView.Stretch)
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(22)


def fill(table: qt.QTableWidget, lines: Sequence[TableLine], selected: str) -> None:
    """Shows the lines and selects the row of the segment `selected`, without telling anyone."""
    table.blockSignals(True)
    table.setRowCount(len(lines))
    for index, line in enumerate(lines):
        name = _cell(table, index, NAME, line.name, line.name)
        name.setData(qt.Qt.UserRole, line.segment_id)
        name.setData(qt.Qt.DecorationRole, qt.QColor.fromRgbF(*line.colour))
        ml = _cell(table, index, ML, "" if line.ml is None else _ml_text(line.ml), _("Volume now"))
        ml.setData(qt.Qt.TextAlignmentRole, int(qt.Qt.AlignRight) | int(qt.Qt.AlignVCenter))
        text = "; ".join(line.checks)
        _cell(table, index, CHECKS, text, text or _("Nothing conspicuous"))
        _cell(table, index, STATE, state_text(line.state), state_text(line.state))
    at = next((index for index, line in enumerate(lines) if line.segment_id == selected), -1)
    if at != table.currentRow():
        table.setCurrentCell(at, NAME)
    table.blockSignals(False)


def chosen(table: qt.QTableWidget) -> str:
    """Segment ID of the current row, empty when there is none."""
    item = table.item(table.currentRow(), NAME)
    return item.data(qt.Qt.UserRole) if item else ""


def _ml_text(ml: float) -> str:
    return f"{ml:.0f}" if ml >= 100 else f"{ml:.1f}"


def _cell(table: qt.QTableWidget, row: int, column: int, text: str, tip: str) -> qt.QTableWidgetItem:
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem()
        table.setItem(row, column, item)
    item.setText(text)
    item.setToolTip(tip)
    return item
