"""What a correction did, in a line or two."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _


def change_text(changes: Sequence[Mapping[str, Any]], seconds: float, accepted: Collection[str], kept: int) -> str:
    """`changes`: what each organ gained and lost, by the command; `accepted`: organs that were so before; `kept`:
    voxels that were edited or accepted meanwhile and stayed."""
    parts = [_organ_text(change) for change in changes] or [_("nothing")]
    lines = [_("Corrected in {seconds:.1f} s: {changes}.").format(seconds=seconds, changes=", ".join(parts))]
    checked_again = [change["organ"].replace("_", " ") for change in changes if change["organ"] in accepted]
    if checked_again:
        lines.append(_("No longer accepted, as they were corrected: {organs}.").format(organs=", ".join(checked_again)))
    if kept:
        lines.append(_("{voxels} voxels stayed as you edited or accepted them meanwhile.").format(voxels=kept))
    return "\n".join(lines)


def _organ_text(change: Mapping[str, Any]) -> str:
    amounts = []
    for sign, millilitres in (("+", change["gained_ml"]), ("-", change["lost_ml"])):
        if millilitres >= 10:  # two digits are enough
            amounts.append(f"{sign}{millilitres:.0f} ml")
        elif millilitres > 0:
            amounts.append(f"{sign}{millilitres:.2g} ml")
    return f"{change['organ'].replace('_', ' ')} {' '.join(amounts)}"
