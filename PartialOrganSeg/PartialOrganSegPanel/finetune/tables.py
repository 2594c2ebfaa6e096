"""The two tables of section Fine-tune: the CTs to learn from, and Dice before and after."""

from __future__ import annotations

from collections.abc import Sequence

import qt
from slicer.i18n import tr as _

from PartialOrganSegLib.organs import BACKGROUND

from ..scene.scene_cases import FULL, PARTIAL, SCRIBBLE, UNLABELLED, SceneCase
from ..shell.organ_table import Cell, prepare, put
from .run import DiceRow
from .verdict_text import measured_on_text

CT, KIND, MEASURE = range(3)
ORGAN, BEFORE, AFTER, CHANGE = range(4)


def prepare_cases(table: qt.QTableWidget) -> None:
    """Headers and widths, once."""
    prepare(table, [_("CT"), _("Labels"), _("Measure")], stretched=(CT, KIND))
    table.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)  # of several lines, at any width
    table.horizontalHeaderItem(MEASURE).setToolTip(
        _("Ticked CTs are not learnt from: Dice before and after is measured on them. Without a tick a quarter of the "
          "CTs is taken for that, or parts of a few"))


def fill_cases(table: qt.QTableWidget, cases: Sequence[SceneCase], space: Sequence[str], fixed: bool) -> None:
    """Shows the cases with their tick boxes, `fixed` while a run works, without a signal."""
    # a tick set here is not the user's: it must not be written into the scene
    table.blockSignals(True)
    table.setRowCount(len(cases))
    for index, case in enumerate(cases):
        name = put(table, index, CT, Cell(case.name, case.name))
        _tick(name, case.volume_id, case.included, not fixed)
        text = kind_text(case, space)
        put(table, index, KIND, Cell(text, text))
        can = case.included and case.labelled
        tip = _("Dice can be measured on ticked CTs with accepted organs or strokes")
        if can:
            tip = _("Measure Dice on this CT instead of learning from it")
        _tick(put(table, index, MEASURE, Cell("", tip)), case.volume_id, can and case.measured, can and not fixed)
    table.blockSignals(False)


def _tick(item: qt.QTableWidgetItem, volume_id: str, checked: bool, enabled: bool) -> None:
    item.setData(qt.Qt.UserRole, volume_id)
    flags = qt.Qt.ItemIsUserCheckable
    if enabled:
        flags |= qt.Qt.ItemIsEnabled
    item.setFlags(flags)
    item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)


def ticked(item: qt.QTableWidgetItem) -> tuple[str, int, bool] | None:
    """The CT (node ID) and column of a tick box and whether it is ticked, None for a cell without one."""
    volume_id = item.data(qt.Qt.UserRole)
    if not volume_id:
        return None
    return volume_id, item.column(), item.checkState() == qt.Qt.Checked


def kind_text(case: SceneCase, space: Sequence[str]) -> str:
    """What is known of a CT: `accepted: liver, spleen; strokes: pancreas`, where it was accepted if that is not plain,
    and which strokes do not count."""
    names = ", ".join(organ.replace("_", " ") for organ in case.accepted)
    drawn_names = [organ.replace("_", " ") for organ in case.drawn if organ != BACKGROUND]
    if BACKGROUND in case.drawn:
        drawn_names.append(_("background"))
    drawn = ", ".join(drawn_names)
    kind = case.kind(space)
    text = {FULL: _("all organs accepted"), PARTIAL: _("accepted: {organs}").format(organs=names),
            SCRIBBLE: _("strokes: {organs}").format(organs=drawn), UNLABELLED: _("nothing yet")}[kind]
    if kind == PARTIAL and drawn:
        text += _("; strokes: {organs}").format(organs=drawn)
    if case.accepted_in:
        text += _("; accepted in {segmentation}").format(segmentation=case.accepted_in)
    if case.uncounted:
        text += _("; not learnt from: {strokes}").format(strokes=", ".join(case.uncounted))
    return text


def prepare_dice(table: qt.QTableWidget) -> None:
    """Headers and widths, once."""
    prepare(table, [_("Organ"), _("Before"), _("After"), _("Change")], stretched=(ORGAN,))


def fill_dice(table: qt.QTableWidget, rows: Sequence[DiceRow]) -> None:
    """Shows Dice before and after; organs that were to be learnt come first and bold."""
    table.setRowCount(len(rows))
    for index, row in enumerate(sorted(rows, key=lambda row: not row.changed)):
        group = _("to be kept")
        if row.changed:
            group = _("shown by the cases")
        tip = _("{organ}: {group}; measured on {what}").format(
            organ=row.organ.replace("_", " "), group=group,
            what=measured_on_text(row.measured_on_kind, row.measured_on))
        texts = (row.organ.replace("_", " "), f"{row.before:.3f}", f"{row.after:.3f}", f"{row.after - row.before:+.3f}")
        for column, text in enumerate(texts):
            font = qt.QFont()
            font.setBold(row.changed)
            put(table, index, column, Cell(text, tip, number=column != ORGAN)).setFont(font)
