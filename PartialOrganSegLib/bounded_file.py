"""A small file read whole, and never more than its kind ever has: a device or a pipe has no size to look at first."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from .errors import Code, UserError

_MIB = 1 << 20


def read_at_most(path: Path, limit: int, noun: str) -> bytes:
    """The content. Raises OSError, ValueError for a name that no file can have, and UserError, with `noun` for what was
    expected, for more than `limit` bytes."""
    mode = os.stat(path).st_mode
    # Windows says "permission denied" of a folder that is opened, as of a file that it keeps from the user.
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    # Nobody may ever write to a pipe with a name; one that the shell makes for `<(...)` has somebody at its other end.
    if stat.S_ISFIFO(mode) and not str(path).startswith(("/dev/fd/", "/proc/")):
        raise UserError(code=Code.NOT_READABLE, subject=path, expected=noun, found="a pipe")
    with open(path, "rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise UserError(code=Code.TOO_LARGE, subject=path, expected=f"{noun} of at most {limit // _MIB} MiB",
                        found="more")
    return content
