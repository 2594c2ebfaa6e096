"""One process at a time does a piece of work that several may want, e.g. trainings that fill one cache."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits until no other process holds the lock file `path`, and holds it meanwhile.

    The system lets go of a lock when its process ends, however it ends. Where a file system has no locks there is no
    waiting: whoever uses this must write in a way that doing the work twice is only a waste (`atomic.whole_file`).
    """
    with open(path, "ab") as handle:
        with contextlib.suppress(OSError):
            _acquire(handle)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows keeps a file that another process has open
                path.unlink()


def _acquire(handle: BinaryIO) -> None:
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
