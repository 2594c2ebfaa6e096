"""Copies of patients' images in run folders: how much they are, and removing them; resuming needs some of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from PartialOrganSegLib.file_locks import locked

from . import run as runs
from .export import DATA, manifest_of

IMAGES = "*.nrrd"  # in DATA: the CTs and their label maps; the manifest with the cases' names stays
LOCK = ".lock"  # as PartialOrganSegLib.finetuning.run_folder.LOCK_FILE, which cannot be imported without pydantic
WORKING_COPIES = ("cache", "cases", "replay", "looks")  # that the command makes in the run's folder


@dataclass(frozen=True)
class PatientCopies:
    """What a run that was started here holds of patients: files and folders, and their size in bytes."""

    run: Path
    paths: tuple[Path, ...]
    size: int

    @property
    def resumable(self) -> bool:
        """Whether the run was interrupted, so that it cannot go on without them."""
        return runs.state(self.run) == runs.STARTED

    @property
    def finished(self) -> bool:
        """Whether the run needs them no more. One that has not begun to learn may be about to, in another window."""
        return runs.state(self.run) == runs.FINISHED

    @property
    def in_use(self) -> bool:
        """Whether the command works on the run now, of whatever window."""
        path = self.run / LOCK
        if not path.is_file():
            return False
        try:
            handle = locked(path)
        except OSError:
            return True
        if handle is not None:
            handle.close()
        return handle is None

    def delete(self) -> None:
        """Raises OSError where something cannot be removed."""
        for path in self.paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def copies_in(run: Path) -> PatientCopies | None:
    """Of one run; None where it holds none, and for a run that was not started here."""
    # without a manifest of ours the images may be the user's only ones
    if not manifest_of(run).is_file():
        return None
    paths = [*(run / DATA).glob(IMAGES), *(run / name for name in WORKING_COPIES if (run / name).is_dir())]
    files = [path for path in paths if path.is_file()]
    for folder in paths:
        files += [path for path in folder.rglob("*") if path.is_file()]
    if not paths:
        return None
    return PatientCopies(run, tuple(paths), sum(path.stat().st_size for path in files))


def copies_below(folder: Path) -> list[PatientCopies]:
    """Of all runs in a folder, in the order of their names. A folder that cannot be read has none."""
    try:
        candidates = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []
    copies = map(copies_in, candidates)
    return [run_copies for run_copies in copies if run_copies is not None]


def size_text(copies: list[PatientCopies]) -> str:
    """`284 MB`."""
    megabytes = sum(run_copies.size for run_copies in copies) / 1e6
    if megabytes < 1:
        return _("less than 1 MB")
    return _("{size:.0f} MB").format(size=megabytes)
