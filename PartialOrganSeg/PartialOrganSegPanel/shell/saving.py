"""Where a user's files go when some of that name are there: nothing is overwritten unasked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slicer.i18n import tr as _

from .services import Dialogs


def name_to_save(dialogs: Dialogs, folder: Path, name: str, endings: Sequence[str]) -> str | None:
    """The name, without an ending, under which files with these endings may be written into the folder: `name`, or
    where such files exist what the user chooses: `name` again, to replace them, or one with a number. None: cancelled.
    """
    # all endings together: a case's CT, labels and manifest must get one name
    existing = [name + ending for ending in endings if (folder / (name + ending)).exists()]
    if not existing:
        return name
    question = _("There is already in {folder}: {names}.").format(folder=folder, names=", ".join(existing))
    answer = dialogs.ask(_("Save"), question, [("keep", _("Keep it, save beside it")), ("replace", _("Replace it"))])
    if answer == "keep":
        return free_name(folder, name, endings)
    if answer == "replace":
        return name
    return None


def free_name(folder: Path, name: str, endings: Sequence[str]) -> str:
    """The name with the first number, from 2 on, under which no such file exists."""
    number = 2
    while any((folder / f"{name}_{number}{ending}").exists() for ending in endings):
        number += 1
    return f"{name}_{number}"
