"""Paths without links and without `~`, for names that users or their files give.

`Path.resolve` raises RuntimeError for a link that leads in a circle, `Path.expanduser` for a person whom the system
does not know: here such a path stays as it is, and whoever opens it says what is wrong.
"""

from __future__ import annotations

import os
from pathlib import Path


def real_path(path: Path | str) -> Path:
    """The absolute path that links lead to in the end."""
    return Path(os.path.realpath(path))


def home_folder() -> Path | None:
    """The user's; None where the system knows of none, as in a container that runs under a number nobody has."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def below(folder: Path, path: Path) -> Path:
    """Where a path that a file in `folder` names leads to; `~` is the user's home."""
    return real_path(folder / os.path.expanduser(path))


def relative_path(path: Path, folder: Path) -> str:
    """A path relative to a folder, with slashes; the whole path where no relative one leads there (other disks)."""
    try:
        return Path(os.path.relpath(real_path(path), real_path(folder))).as_posix()
    except ValueError:
        return real_path(path).as_posix()
