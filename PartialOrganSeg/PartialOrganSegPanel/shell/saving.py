"""Where a user's files go when some of that name are there: nothing is overwritten unasked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from .job import Outcome
from .services import Dialogs
from .steps import Steps, Work


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


class FileWork:
    """Writes or reads a file that the user chose, in pieces while the window goes on working; one at a time.
    `say(text, tooltip)` shows the user what is done, or why it was not; `changed()`: it begins, or has ended."""

    def __init__(self, say: Callable[[str, str], None], changed: Callable[[], None]) -> None:
        self._say, self._changed = say, changed
        self._steps: Steps | None = None

    @property
    def why_not(self) -> str:
        """Why nothing can be begun now; empty when it can. A run of the command is no reason."""
        if self._steps is not None:
            return _("A file is being written or read.")
        return ""

    def start(self, work: Work, text: str, on_value: Callable[[Any], None]) -> None:
        """`text` says what is done; `on_value` gets what the work returned, if it succeeded."""
        self._steps = steps = Steps(work, lambda progress: self._say(f"{text} {progress.stage}".strip(), ""),
                                    lambda outcome: self._ended(steps.value, outcome, on_value))
        self._say(text, "")
        steps.start()
        self._changed()

    def stop(self) -> None:
        """Ends it without a word; no half a file stays."""
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.kill()

    def _ended(self, value: Any, outcome: Outcome, on_value: Callable[[Any], None]) -> None:
        self._steps = None
        if outcome.state == "done":
            on_value(value)
        else:
            self._say(outcome.message, "")
        self._changed()


class CaseSaving:
    """Writes a CT with what is known of it into a folder that the user chooses."""

    def __init__(self, dialogs: Dialogs, work: FileWork, say: Callable[[str, str], None]) -> None:
        self._dialogs, self._work, self._say = dialogs, work, say

    def save(self, name: str, endings: Sequence[str], write: Callable[[Path, str], Work], saved_text: str,
             warning: Callable[[], str] = str) -> None:
        """Asks for the folder. `write(folder, name)` writes the files, `name` with these `endings`, and gives the
        manifest, whose name stands in `saved_text` as `{name}`. `warning()`: what is to be said of them beside that."""
        folder = self._dialogs.choose_folder(_("Folder for the case"))
        if folder is None:
            return
        chosen_name = name_to_save(self._dialogs, Path(folder), name, endings)
        if chosen_name is not None:
            def written(manifest: Path) -> None:
                text = " ".join(filter(None, [saved_text.format(name=manifest.name), warning()]))
                self._say(text, str(manifest))

            self._work.start(write(Path(folder), chosen_name), _("Saving the case ..."), written)
