"""The two tables of section Fine-tune: the CTs to learn from, and Dice before and after."""

from __future__ import annotations

from collections.abc import Sequence

import qt
from slicer.i18n import tr as _

from PartialOrganSegLib.organs import BACKGROUND

from .finetune_cases import FULL, PARTIAL, SCRIBBLE, UNLABELLED, SceneCase
from .finetune_run import DiceRow

CT, KIND = range(2)
ORGAN, BEFORE, AFTER, CHANGE = range(4)


def prepare_cases(table: qt.QTableWidget) -> None:
    """Headers and widths, once."""
    _prepare(table, [_("CT"), _("Annotation")], stretched=(CT, KIND))


def fill_cases(table: qt.QTableWidget, cases: Sequence[SceneCase], space: Sequence[str], fixed: bool) -> None:
    """Shows the cases with their tick boxes, `fixed` while a run works, without telling anyone."""
    table.blockSignals(True)
    table.setRowCount(len(cases))
    for index, case in enumerate(cases):
        name = _cell(table, index, CT, case.name, case.name)
        name.setData(qt.Qt.UserRole, case.volume_id)
        name.setFlags(qt.Qt.ItemIsUserCheckable if fixed else qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
        name.setCheckState(qt.Qt.Checked if case.included else qt.Qt.Unchecked)
        text = kind_text(case, space)
        _cell(table, index, KIND, text, text)
    table.blockSignals(False)


def ticked(item: qt.QTableWidgetItem) -> tuple[str, bool] | None:
    """The CT (node ID) of a cell's tick box and whether it is ticked, None for another cell."""
    volume_id = item.data(qt.Qt.UserRole)
    return (volume_id, item.checkState() == qt.Qt.Checked) if volume_id else None


def kind_text(case: SceneCase, space: Sequence[str]) -> str:
    """The kind of supervision and what it is of: `partial: liver, spleen; strokes: pancreas`."""
    names = ", ".join(organ.replace("_", " ") for organ in case.accepted)
    drawn = ", ".join(_("background") if organ == BACKGROUND else organ.replace("_", " ") for organ in case.drawn)
    kind = case.kind(space)
    text = {FULL: _("full: all organs accepted"), PARTIAL: _("partial: {organs}").format(organs=names),
            SCRIBBLE: _("scribble: {organs}").format(organs=drawn), UNLABELLED: _("unlabelled")}[kind]
    return text + (_("; strokes: {organs}").format(organs=drawn) if kind == PARTIAL and drawn else "")


def prepare_dice(table: qt.QTableWidget) -> None:
    """Headers and widths, once."""
    _prepare(table, [_("Organ"), _("Before"), _("After"), _("Change")], stretched=(ORGAN,))


def fill_dice(table: qt.QTableWidget, rows: Sequence[DiceRow]) -> None:
    """Shows Dice before and after; organs that were to be learnt come first and bold."""
    table.setRowCount(len(rows))
    for index, row in enumerate(sorted(rows, key=lambda row: not row.changed)):
        group = _("shown by the cases") if row.changed else _("to be kept")
        tip = _("{organ}: {group}; measured on {what}").format(
            organ=row.organ.replace("_", " "), group=group, what=row.measured_on)
        texts = (row.organ.replace("_", " "), f"{row.before:.3f}", f"{row.after:.3f}", f"{row.after - row.before:+.3f}")
        for column, text in enumerate(texts):
            cell = _cell(table, index, column, text, tip)
            font = qt.QFont()
            font.setBold(row.changed)
            cell.setFont(font)
            if column != ORGAN:
                cell.setData(qt.Qt.TextAlignmentRole, int(qt.Qt.AlignRight) | int(qt.Qt.AlignVCenter))


def _prepare(table: qt.QTableWidget, titles: Sequence[str], stretched: Sequence[int]) -> None:
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    header = table.horizontalHeader()
    for column in range(len(titles)):
        fits = qt.QHeaderView.Stretch if column in stretched else qt.QHeaderView.ResizeToContents
        header.setSectionResizeMode(column, fits)
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(22)


def _cell(table: qt.QTableWidget, row: int, column: int, text: str, tip: str) -> qt.QTableWidgetItem:
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem()
        table.setItem(row, column, item)
    item.setText(text)
    item.setToolTip(tip)
    return item
