"""Locks on files that the system lets go of when their process ends, however it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO


def lock(handle: BinaryIO) -> None:
    """Locks an open file as a whole, without waiting.

    Raises BlockingIOError when another process holds it, another OSError where files cannot be locked.
    """
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    try:
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    except PermissionError as error:
        raise BlockingIOError from error


def locked(path: Path) -> BinaryIO | None:
    """Makes the file and locks it, until it is closed; None where another process has it or has just removed it.

    On a file system without locks it is open all the same. Raises OSError where it cannot be made.
    """
    handle = open(path, "ab")  # noqa: SIM115 - the caller closes it, which releases the lock
    try:
        lock(handle)
        if is_still(handle, path):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        return handle
    handle.close()
    return None


def is_still(handle: BinaryIO, path: Path) -> bool:
    """Whether `path` is the file that was opened: one that was removed meanwhile keeps nobody out. Raises OSError."""
    return os.stat(path).st_ino == os.fstat(handle.fileno()).st_ino
