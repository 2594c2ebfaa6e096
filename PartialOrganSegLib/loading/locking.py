"""One process at a time does a piece of work that several may want, e.g. trainings that fill one cache."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..file_locks import lock

TRIES = 10 if sys.platform == "win32" else 1  # Windows may free a killed process's locks late


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits until no other process holds the lock file `path`, and holds it meanwhile.

    The system lets go of a lock when its process ends, however it ends. Where a file system has no locks there is no
    waiting: whoever uses this must write in a way that doing the work twice is only a waste (`atomic.whole_file`).
    """
    with open(path, "ab") as handle:
        with contextlib.suppress(OSError):
            _wait_for(handle)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows keeps a file that another process has open
                path.unlink()


def remove_unheld(path: Path) -> None:
    """Removes the lock file `path` of a process that was killed, unless another process holds it."""
    with contextlib.suppress(OSError), open(path, "rb+") as handle:
        lock(handle)
        if sys.platform != "win32":  # which removes no file that is open; an empty file does no harm
            path.unlink()


@contextlib.contextmanager
def held_alone(path: Path) -> Iterator[None]:
    """Holds the lock file `path`, which stays. Raises BlockingIOError where another process holds it.

    The lock is this process's alone: it goes with it even where processes that it started live on a little longer.
    Where a file system has no locks, nothing is held.
    """
    with open(path, "ab") as handle:
        for tries_left in reversed(range(TRIES)):
            try:
                _take(handle)
            except (BlockingIOError, PermissionError) as error:
                if not tries_left:
                    raise BlockingIOError(error.errno, f"{path} is locked") from None
                time.sleep(0.2)
                continue
            except OSError:
                pass
            break
        yield


def _take(handle: BinaryIO) -> None:
    """Locks the file for this process. Raises BlockingIOError or PermissionError where another has it, OSError where
    files cannot be locked."""
    if sys.platform != "win32":
        import fcntl

        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)


def _wait_for(handle: BinaryIO) -> None:
    """Blocks until the file is ours; closing it gives it back. Raises OSError where files cannot be locked."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX)
        return
    import msvcrt

    while True:
        try:
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
            return
        except PermissionError:  # another process has it
            time.sleep(0.2)
