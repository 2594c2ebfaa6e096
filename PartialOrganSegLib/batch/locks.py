"""One process at a time works on a case, even when several runs write to the same output folder."""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..file_locks import is_still, lock

POLL_S = 0.5


class CaseLock(enum.IntEnum):
    """Whether this process may work on a case; the truth value says so."""

    HELD_ELSEWHERE = 0
    UNSUPPORTED = 1  # the file system has no locks: another process may be working on the case as well
    EXCLUSIVE = 2


@contextlib.contextmanager
def case_lock(path: Path, wait: bool) -> Iterator[CaseLock]:
    """Holds the lock file `path`. Yields HELD_ELSEWHERE when another process has it, or waits for it with `wait`.

    The system releases a lock when its process ends, however it ends. On a file system without locks every process
    may go on: a case may then be segmented twice, with the same result.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while (attempt := _try_lock(path)) is None:
        if not wait:
            yield CaseLock.HELD_ELSEWHERE
            return
        time.sleep(POLL_S)
    handle, state = attempt
    with handle:
        try:
            yield state
        finally:
            # Removed while it is still locked, so that nobody locks a file that is about to vanish. Windows does not
            # remove an open file; the empty file then stays, which does no harm.
            with contextlib.suppress(OSError):
                path.unlink()


def _try_lock(path: Path) -> tuple[BinaryIO, CaseLock] | None:
    """The lock file, locked where that is possible; None when another process holds it or has just removed it."""
    handle = open(path, "ab")  # noqa: SIM115 - the caller closes it, which releases the lock
    try:
        lock(handle)
        # A file that was removed between our opening and our locking it keeps nobody else out.
        if is_still(handle, path):
            return handle, CaseLock.EXCLUSIVE
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:  # this file system has no locks
        return handle, CaseLock.UNSUPPORTED
    except BaseException:
        handle.close()
        raise
    handle.close()
    return None
