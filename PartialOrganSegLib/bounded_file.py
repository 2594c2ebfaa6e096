"""A small file read whole, and never more than its kind ever has: a device or a pipe has no size to look at first."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .errors import Code, UserError

_MIB = 1 << 20


def read_at_most(path: Path, limit: int, noun: str) -> bytes:
    """The content. Raises OSError, ValueError for a name that no file can have, and UserError, with `noun` for what was
    expected, for more than `limit` bytes."""
    # Nobody may ever write to a pipe with a name; one that the shell makes for `<(...)` has somebody at its other end.
    if stat.S_ISFIFO(os.stat(path).st_mode) and not str(path).startswith(("/dev/fd/", "/proc/")):
        raise UserError(code=Code.NOT_READABLE, subject=path, expected=noun, found="a pipe")
    with open(path, "rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise UserError(code=Code.TOO_LARGE, subject=path, expected=f"{noun} of at most {limit // _MIB} MiB",
                        found="more")
    return content
