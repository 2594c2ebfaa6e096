"""Files appear whole or not at all: written under a temporary name beside the target, synced, then renamed."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

# Windows' errors while a virus scanner or OneDrive looks at what was just written: access denied, file in use (twice).
_IN_USE = (5, 32, 33)
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
            if getattr(error, "winerror", None) not in _IN_USE:
                raise
            time.sleep(pause)
    os.replace(source, target)


@contextlib.contextmanager
def whole_file(target: Path | str) -> Iterator[Path]:
    """Yields a temporary path with the target's own suffixes; renames it to `target` on success, removes it otherwise.

    The temporary file lies in the target's folder, so that the rename stays within one file system.
    """
    target = Path(target)
    # Only the name's end, which has the suffixes: a name of 255 bytes leaves no room for more.
    temporary = target.with_name(f".{uuid.uuid4().hex[:8]}.partial.{target.name[-_NAME_END:]}")
    try:
        yield temporary
        # Without the sync a power cut soon after may leave the new name on an empty file.
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        put_in_place(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()
