"""Files appear whole or not at all: written under a temporary name beside the target, synced, then renamed."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(target: Path | str) -> Iterator[Path]:
    """Yields a temporary path with the target's own suffixes; renames it to `target` on success, removes it otherwise.

    The temporary file lies in the target's folder, so that the rename stays within one file system.
    """
    target = Path(target)
    temporary = target.with_name(f".{uuid.uuid4().hex[:8]}.partial.{target.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()
