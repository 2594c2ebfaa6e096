"""One process at a time works on a case, whoever else was started on the same output."""

from __future__ import annotations

import contextlib
import enum
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

POLL_S = 0.5


class Claim(enum.IntEnum):
    """Whether a case is ours to work on; the truth value says so."""

    TAKEN = 0
    UNLOCKED = 1  # no locks on this file system: somebody else may be at it as well
    ALONE = 2


@contextlib.contextmanager
def claimed(path: Path, wait: bool) -> Iterator[Claim]:
    """Holds the lock file `path`; yields TAKEN when another process has it, unless told to `wait` for that to end.

    The system lets go of a lock when its process ends, however it ends. On a file system without locks everybody holds
    it: a case may then be segmented twice, with the same result.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while (held := _try(path)) is None:
        if not wait:
            yield Claim.TAKEN
            return
        time.sleep(POLL_S)
    handle, claim = held
    with handle:
        try:
            yield claim
        finally:
            with contextlib.suppress(OSError):  # Windows keeps a file that is open
                path.unlink()


def _try(path: Path) -> tuple[BinaryIO, Claim] | None:
    """The lock file, locked if that can be; None when another process has locked it or took it away meanwhile."""
    handle = open(path, "ab")  # noqa: SIM115 - the caller closes it, which gives the lock back
    try:
        _lock(handle)
        if os.stat(path).st_ino == os.fstat(handle.fileno()).st_ino:  # else it was removed before we had the lock
            return handle, Claim.ALONE
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:  # no locks here
        return handle, Claim.UNLOCKED
    except BaseException:
        handle.close()
        raise
    handle.close()
    return None


def _lock(handle: BinaryIO) -> None:
    """Raises BlockingIOError when another process has it, another OSError where files cannot be locked."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    try:
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    except PermissionError as error:
        raise BlockingIOError from error
