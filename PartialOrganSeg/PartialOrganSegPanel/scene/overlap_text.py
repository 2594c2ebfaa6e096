"""What is said where organs overlap: a label map has one organ a voxel."""

from __future__ import annotations

from collections.abc import Mapping

from slicer.i18n import tr as _

Lost = Mapping[str, int]  # voxels that each organ has lost to a later one


def overlap_text(lost: Lost) -> str:
    """Of one CT; empty where no organ has lost any."""
    return _text(_organs(lost))


def overlap_text_of_cts(lost: Mapping[str, Lost]) -> str:
    """Of several CTs by their names."""
    return _text("; ".join(f"{name}: {_organs(of_ct)}" for name, of_ct in lost.items() if of_ct))


def _organs(lost: Lost) -> str:
    return ", ".join(f"{organ.replace('_', ' ')} {voxels}" for organ, voxels in lost.items())


def _text(organs: str) -> str:
    if not organs:
        return ""
    return _("Organs overlap, and a voxel is written for one alone, the later in the list. Voxels that are missing so: "
             "{organs}.").format(organs=organs)
