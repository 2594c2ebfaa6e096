"""Scratch folders with copies of a patient's CT, which must not stay."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

PAUSES_S = (0.1, 0.2, 0.3, 0.4)  # one second in all, in which the window waits


def remove_folder(folder: Path) -> None:
    """Removes a folder. On Windows a process that was just killed, or a virus scanner, may hold a file of it open a
    moment longer, and no open file is removed."""
    for pause in (*PAUSES_S, 0.0):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(pause)


def remove_file(path: Path) -> None:
    """Removes a file of a scratch folder that is not needed any more; one that is in use goes with the folder."""
    with contextlib.suppress(OSError):
        path.unlink()
