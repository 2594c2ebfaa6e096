"""Where a user's files go when some of that name are there: nothing is overwritten unasked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from slicer.i18n import tr as _

from .job import Outcome, Progress
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


class CaseSaving:
    """Writes a CT with what is known of it into a folder that the user chooses, in pieces while the window goes on
    working. `say(text, tooltip)` shows what was written, or why it was not; `changed()`: it begins, or has ended."""

    def __init__(self, dialogs: Dialogs, say: Callable[[str, str], None], changed: Callable[[], None]) -> None:
        self._dialogs, self._say, self._changed = dialogs, say, changed
        self._steps: Steps | None = None

    @property
    def why_not(self) -> str:
        """Why no case can be saved now; empty when one can. A run of the command is no reason."""
        if self._steps is not None:
            return _("A case is being saved.")
        return ""

    def save(self, name: str, endings: Sequence[str], write: Callable[[Path, str], Work], done: str) -> None:
        """Asks for the folder. `write(folder, name)` writes the files, `name` with these `endings`, and gives the
        manifest, whose name stands in the text `done` as `{name}`."""
        folder = self._dialogs.choose_folder(_("Folder for the case"))
        if folder is None:
            return
        chosen_name = name_to_save(self._dialogs, Path(folder), name, endings)
        if chosen_name is None:
            return
        self._steps = steps = Steps(write(Path(folder), chosen_name), self._progress,
                                    lambda outcome: self._ended(steps.value, outcome, done))
        self._say(_("Saving the case ..."), "")
        steps.start()
        self._changed()

    def stop(self) -> None:
        """Ends the writing without a word; no half a case stays."""
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.kill()

    def _progress(self, progress: Progress) -> None:
        self._say(_("Saving the case: {stage} ...").format(stage=progress.stage), "")

    def _ended(self, manifest: Path | None, outcome: Outcome, done: str) -> None:
        self._steps = None
        if manifest is None:
            self._say(outcome.message, "")
        else:
            self._say(done.format(name=manifest.name), str(manifest))
        self._changed()
