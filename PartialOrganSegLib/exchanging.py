"""Two folders change places in one step, where the system can do that."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_HERE = -100  # AT_FDCWD of Linux: paths are relative to the working folder
_LINUX_EXCHANGE, _MAC_SWAP = 2, 2  # RENAME_EXCHANGE of renameat2, RENAME_SWAP of renamex_np


def exchange(first: Path, second: Path) -> bool:
    """Whether two files or folders of one file system now have each other's place; if not, nothing has changed."""
    if sys.platform not in ("linux", "darwin"):
        return False
    paths = os.fsencode(first), os.fsencode(second)
    try:
        library = ctypes.CDLL(None)
        if sys.platform == "linux":
            failed = library.renameat2(_HERE, paths[0], _HERE, paths[1], _LINUX_EXCHANGE)
        else:
            failed = library.renamex_np(*paths, _MAC_SWAP)
    except (OSError, AttributeError):  # a C library without that function
        return False
    return not failed
