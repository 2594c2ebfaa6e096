"""The organ table of section Review: an organ a row with its colour, name, volume, checks and state."""

from __future__ import annotations

from collections.abc import Sequence

import qt
from slicer.i18n import tr as _

from PartialOrganSegLib.segmenting.check_kinds import OrganCheck

from ..scene.organ_rows import ABSENT, ACCEPTED, EDITED, PREDICTED, SCRIBBLED
from ..shell import organ_table
from ..shell.check_text import check_text, short_check
from ..shell.organ_table import Cell, OrganLine

ORGAN, CHECKS = 0, 2  # columns
_STATES = {PREDICTED: lambda: _("predicted"), EDITED: lambda: _("edited"), SCRIBBLED: lambda: _("scribbled"),
           ACCEPTED: lambda: _("accepted"), ABSENT: lambda: _("absent")}


def prepare(table: qt.QTableWidget) -> None:
    """Headers and widths, once: names and checks share what the others leave, as a long name would leave no check."""
    organ_table.prepare(table, [_("Organ"), _("ml"), _("Checks"), _("State")], stretched=(ORGAN, CHECKS))
    # as high as the checks are long, at any width of the panel
    table.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)


def review_line(segment_id: str, name: str, colour: tuple[float, float, float], ml: float | None,
                checks: Sequence[OrganCheck], state: str, noted: str = "") -> OrganLine:
    """An organ: `colour` is RGB in 0-1, `ml` None while unknown. The tooltip has the checks in full.

    `noted` is shown as it is, where there are no checks.
    """
    # results of older versions hold a text instead of checks
    short_checks = ", ".join(map(short_check, checks)) or noted
    in_full = "\n".join(map(check_text, checks)) or noted or _("Nothing conspicuous")
    return OrganLine(segment_id, tuple(round(255 * part) for part in colour), (
        Cell(name, name), Cell(_volume_text(ml), _("Volume now"), number=True),
        Cell(short_checks, in_full), Cell(state_text(state), state_text(state))))


def _volume_text(ml: float | None) -> str:
    if ml is None:
        return ""
    if ml >= 100:  # a tenth of that is noise, and the column is narrow
        return f"{ml:.0f}"
    return f"{ml:.1f}"


def state_text(state: str) -> str:
    """A state in the user's language."""
    return _STATES[state]()
