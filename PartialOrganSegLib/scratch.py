"""Hidden folders in which something is made before it moves to its place, and what killed processes left of them.

Their process holds a lock in them. Whoever makes the next one beside them finishes or removes those that nobody holds.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .atomic import put_in_place
from .exchanging import exchange
from .file_locks import lock, locked

LOCK = ".lock"
NEW = "new"  # what is made
EARLIER = "earlier"  # files that give way; it is made when everything new is written, right before that moves
OLD = "old"  # a folder that gives way, under its name
_UNKNOWN_AGE_S = 24 * 3600  # one without a lock file is of an earlier version, or was made this moment


@contextlib.contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Yields a new folder in `parent`, which vanishes at the end. Abandoned ones whose name begins like it go before.

    Raises OSError where it cannot be made.
    """
    clear_abandoned(parent, prefix)
    folder, handle = _held_folder(parent, prefix)
    try:
        with handle:
            yield folder
    finally:
        _remove(folder)


def replace_folder(new: Path, target: Path, scratch: Path) -> None:
    """Puts `new` in the place of `target`, beside which the scratch folder lies; what was there ends in that.

    Where the system cannot exchange two folders, a process that is killed between two renames leaves none in place; the
    next scratch folder beside it puts the old one back. Raises OSError, with what was there in its place.
    """
    if target.exists() and exchange(new, target):
        return
    old = scratch / OLD / target.name
    if target.exists():
        old.parent.mkdir()
        put_in_place(target, old)
    try:
        put_in_place(new, target)
    except OSError:
        if old.exists():
            put_in_place(old, target)
        raise


def _held_folder(parent: Path, prefix: str) -> tuple[Path, BinaryIO]:
    """A new folder and its lock file, which is locked where that is possible. Raises OSError."""
    # Who looks for leftovers may remove a folder that is not locked yet.
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with contextlib.suppress(FileNotFoundError):
            handle = locked(folder / LOCK)
            if handle is not None:
                return folder, handle
        shutil.rmtree(folder, ignore_errors=True)


def clear_abandoned(parent: Path, prefix: str) -> None:
    """Finishes what killed processes began to put in place from folders of that prefix, and removes these."""
    for folder in list(parent.glob(f"{glob.escape(prefix)}*")):
        if folder.is_dir():
            with contextlib.suppress(OSError):  # another process did it first, or is at work
                _clear_if_abandoned(folder)


def _clear_if_abandoned(folder: Path) -> None:
    """Raises OSError for one that somebody holds."""
    if not (folder / LOCK).is_file():
        if time.time() - folder.stat().st_mtime > _UNKNOWN_AGE_S:
            finish_and_remove(folder)
        else:
            folder.rmdir()  # where it is empty: removing it was broken off, or whoever makes it makes another one
        return
    with open(folder / LOCK, "rb+") as handle:
        lock(handle)
        finish_and_remove(folder)
    # Windows removes no file that is open.
    _remove(folder)


def finish_and_remove(folder: Path) -> bool:
    """Ends the moves that a killed process had begun from a scratch folder into its parent; then the folder goes.

    Says whether files had begun to move.
    """
    parent = folder.parent
    begun = (folder / EARLIER).is_dir()
    if begun and (folder / NEW).is_dir():
        for file in sorted((folder / NEW).iterdir()):
            _finish_move(file, folder / EARLIER / file.name, parent / file.name)
    if (folder / OLD).is_dir():
        for old in (folder / OLD).iterdir():
            if not (parent / old.name).exists():
                put_in_place(old, parent / old.name)
    _remove(folder)
    return begun


def _remove(folder: Path) -> None:
    """Removes a scratch folder as far as possible, its lock file last: without it nobody knows whose it is."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK:
                path.unlink()
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()


def _finish_move(new: Path, earlier: Path, target: Path) -> None:
    """Puts a new file in place, unless somebody has put another one there since."""
    with contextlib.suppress(OSError):
        if not target.exists() or (earlier.exists() and os.path.samefile(earlier, target)):
            os.replace(new, target)
