"""Files appear whole or not at all: written under a temporary name beside the target, synced, then renamed."""

from __future__ import annotations

import contextlib
import glob
import os
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from .file_locks import is_still, lock, locked

# Windows' errors while a virus scanner or OneDrive looks at what was just written: access denied, file in use (twice).
IN_USE = (5, 32, 33)
_NAME_END = 40  # letters, of at most 4 bytes each
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)  # seconds, 2.5 in all


def put_in_place(source: Path, target: Path) -> None:
    """Renames a file, replacing `target`, or a folder to a name that is free. Waits while Windows says that it is in
    use. Raises OSError."""
    for pause in _PAUSES:
        try:
            os.replace(source, target)
            return
        except OSError as error:
            if getattr(error, "winerror", None) not in IN_USE:
                raise
            time.sleep(pause)
    os.replace(source, target)


@contextlib.contextmanager
def whole_file(target: Path | str) -> Iterator[Path]:
    """Yields a temporary path with the target's own suffixes; renames it to `target` on success, removes it otherwise.

    The temporary file lies in the target's folder, so that the rename stays within one file system. What killed
    processes left there of the same target goes.
    """
    target = Path(target)
    # Only the name's end, which has the suffixes: a name of 255 bytes leaves no room for more.
    ending = f".partial.{target.name[-_NAME_END:]}"
    _remove_abandoned(target.parent, ending)
    temporary = target.with_name(f".{uuid.uuid4().hex[:8]}{ending}")
    try:
        with _held(temporary), _naming(target):
            yield temporary
            # Without the sync a power cut soon after may leave the new name on an empty file.
            with open(temporary, "rb+") as handle:
                os.fsync(handle.fileno())
            put_in_place(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()


@contextlib.contextmanager
def _naming(target: Path) -> Iterator[None]:
    """Errors of the system name the file that was to be written: those of a full disk name none, others a hidden one.
    """
    try:
        yield
    except OSError as error:
        # An error that is only a text would lose it.
        if error.errno is not None:
            error.filename = str(target)
        raise


@contextlib.contextmanager
def _held(temporary: Path) -> Iterator[None]:
    """Makes the file and holds a lock on it meanwhile, by which other processes see that somebody is at work."""
    # There a lock would keep whoever writes the file by its name from doing so, and an open file from being renamed.
    if sys.platform == "win32":
        yield
        return
    # Who looks for leftovers may hold and remove a file that is not locked yet.
    while (handle := locked(temporary)) is None:
        pass
    with handle:
        yield


def _remove_abandoned(folder: Path, ending: str) -> None:
    """Removes half-written files whose process has ended."""
    for file in folder.glob("." + "[0-9a-f]" * 8 + glob.escape(ending)):
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                file.unlink()  # which it refuses while the file is open
                continue
            with open(file, "rb+") as handle:
                lock(handle)
                if is_still(handle, file):
                    file.unlink()
