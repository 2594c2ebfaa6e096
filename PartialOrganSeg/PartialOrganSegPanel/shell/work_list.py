"""The work list: CTs to go through, with their states, kept in a folder that outlives scenes and may be shared.

WORKLIST.json names the cases. What was done on a CT lies in a folder called by the CT's identity, so that two patients'
work is never mixed up: segmentation, strokes, and with labels the files to learn from.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.file_locks import locked

from . import settings

LIST = "worklist.json"
ENTRY = "case.json"
IMAGE_ENDINGS = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
# How the names of files end, before that, which lie beside a CT and are none; a number is of one that was kept beside.
_LABELS = re.compile(r"(\.seg|\.labels|_seg|_labels?|_scribble)(_\d+)?$")
_FOLDER = "PartialOrganSeg/WorkList"
_LOCK, _PATIENCE_S = ".worklist.lock", 2.0

NEW, SEGMENTED, BEGUN, DONE = "new", "segmented", "begun", "done"


@dataclass(frozen=True)
class ListedCase:
    """A CT of the list. `source`: a file's path, or `dicom:` and the UID of a series in Slicer's database. `identity`:
    the text of its `CtIdentity`, empty until it was opened. `decided` of `organs` were accepted or marked as absent.
    `worth`: how unsure the model is of `worth_organ` (mean entropy of its voxels in nats), of all organs that are not
    decided the one that it is least sure of; `worth_z_mm`: on which slice. None and empty while that is not known."""

    source: str
    name: str
    identity: str = ""
    state: str = NEW
    decided: int = 0
    organs: int = 0
    comment: str = ""
    reviewer: str = ""
    rejected: bool = False
    included: bool = True
    measured: bool = False
    worth: float | None = None
    worth_organ: str = ""
    worth_z_mm: float | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing is left to do."""
        return self.rejected or self.state == DONE


class WorkList:
    """The list in a folder. Every change is written at once, on what the file says then: another Slicer may work on the
    same list. A list that cannot be read is never written over, nor is one begun in the place of one that has gone, as
    with a network drive. `chosen`: the user has chosen the folder, so that it was there."""

    def __init__(self, folder: Path, chosen: bool = False) -> None:
        self.folder, self._chosen = folder, chosen
        self._seen = False  # the list was there

    def cases(self) -> list[ListedCase]:
        """Empty where there is no list, or none that can be read."""
        try:
            return self.read()
        except (OSError, UserError):
            return []

    def read(self) -> list[ListedCase]:
        """As `cases`, but raises OSError and UserError for a list that cannot be read."""
        return [_case(entry) for entry in self._entries()]

    def add(self, cases: Sequence[ListedCase]) -> int:
        """Adds those that the list has not; returns how many. Raises OSError and UserError."""
        with self._alone():
            entries = self._entries()
            sources = {entry["source"] for entry in entries}
            new = [case for case in cases if case.source not in sources]
            self._write([*entries, *map(asdict, new)])
        return len(new)

    def change(self, source: str, **changes: Any) -> None:
        """Changes fields of a case. Raises OSError and UserError."""
        with self._alone():
            entries = self._entries()
            changed = [entry | changes if entry["source"] == source else entry for entry in entries]
            if changed != entries:
                self._write(changed)

    def remove(self, source: str) -> None:
        """Takes a case off the list and deletes what was saved of it, unless another case is of the same CT. The CT's
        own file stays. Raises OSError and UserError."""
        with self._alone():
            entries = self._entries()
            self._write([entry for entry in entries if entry["source"] != source])
        # a series and its copy in a file differ in their identities and share a folder
        opened = [case for case in map(_case, entries) if case.identity]
        kept = {self.folder_of(case) for case in opened if case.source != source}
        for case in opened:
            if case.source == source and self.folder_of(case) not in kept:
                shutil.rmtree(self.folder_of(case), ignore_errors=True)

    def folder_of(self, case: ListedCase) -> Path:
        """Where the work on a case that was opened lies. Two copies of one CT share it."""
        # by the voxels alone: a series that was saved as a file has lost its DICOM identifiers
        return self.folder / "cases" / case.identity.rpartition(":")[2]

    def entry_of(self, case: ListedCase) -> dict[str, Any] | None:
        """What a manifest says of the case's files to learn from, None where there are none."""
        if not case.identity:
            return None
        try:
            content = json.loads((self.folder_of(case) / ENTRY).read_text(encoding="utf-8"))
            return dict(content)
        except (OSError, ValueError, TypeError):
            return None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other Slicers from changing the list meanwhile. Raises OSError, and UserError where one does for long.
        """
        self._refuse_gone()
        self.folder.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + _PATIENCE_S
        while (handle := locked(self.folder / _LOCK)) is None:
            if time.monotonic() > end:
                raise UserError(_("{folder}: another program is changing the work list; try again in a moment.").format(
                    folder=self.folder))
            time.sleep(0.01)
        with handle:
            yield

    def _entries(self) -> list[dict[str, Any]]:
        """The cases as they are written: a newer version may have noted more than is known here."""
        path = self.folder / LIST
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))["cases"]
            for entry in entries:
                _case(entry)
        except FileNotFoundError:
            self._refuse_gone()
            return []
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(_("{path}: the work list is damaged and was left alone. Choose another folder, or bring an "
                              "earlier copy of the file back.").format(path=path)) from error
        self._seen = True
        return list(entries)

    def _refuse_gone(self) -> None:
        """Raises UserError where the list, or the folder that was chosen for it, is not there any more."""
        if (self._seen and not (self.folder / LIST).exists()) or (self._chosen and not self.folder.is_dir()):
            raise UserError(_("{folder}: the work list is not there. Connect the drive that it lies on, or choose "
                              "another folder.").format(folder=self.folder))

    def _write(self, entries: Sequence[dict[str, Any]]) -> None:
        text = json.dumps({"cases": entries}, indent=1, ensure_ascii=False)
        with whole_file(self.folder / LIST) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def _case(entry: dict[str, Any]) -> ListedCase:
    """Raises TypeError and AttributeError for an entry that is none."""
    known = {field.name for field in fields(ListedCase)}
    return ListedCase(**{name: value for name, value in entry.items() if name in known})


def images_in(folder: Path) -> list[Path]:
    """Files of a folder and those below it that may be CTs, in the order of their names; label maps are left out."""
    images = []
    for path in sorted(folder.rglob("*")):
        name = path.name.lower()
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        ending = max((ending for ending in IMAGE_ENDINGS if name.endswith(ending)), key=len, default="")
        if ending and not _LABELS.search(name.removesuffix(ending)) and not hidden and path.is_file():
            images.append(path)
    return images


def case_of_file(path: Path) -> ListedCase:
    """An image file as a case of the list."""
    return ListedCase(str(path.resolve()), path.name.split(".nii")[0].removesuffix(path.suffix) or path.name)


def chosen_list() -> WorkList:
    """The list that the user chose last, else the one among the user's documents."""
    folder = settings.read_setting(_FOLDER)
    if folder:
        return WorkList(Path(folder), chosen=True)
    documents = qt.QStandardPaths.writableLocation(qt.QStandardPaths.DocumentsLocation)
    return WorkList(Path(documents or Path.home()) / "PartialOrganSeg" / "work list")


def choose_list(folder: Path) -> None:
    """Works on the list in this folder from now on."""
    settings.write_setting(_FOLDER, str(folder))
