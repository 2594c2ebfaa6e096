"""The files in a folder and all below it, through links as well: scans are often linked together from several disks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import Code, UserError
from ..real_paths import real_path


def refuse_pipe(path: Path) -> None:
    """Raises UserError for a pipe, a device or a socket, from which an image would be read without end."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(code=Code.NOT_READABLE, subject=path, expected="a file or a folder",
                        found="a pipe, a device or a socket")


def files_below(folder: Path, unlistable: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """The files of a folder by name, then those of its folders; what begins with a dot does not count.

    A linked folder is entered once, whatever leads to it, and never one that holds `folder` itself. `unlistable` takes
    the error of a folder that cannot be listed; without it OSError is raised, as the files in it would be missed.
    """
    real = real_path(folder)
    yield from _walk(folder, {real, *real.parents}, unlistable)


def _walk(folder: Path, entered: set[Path], unlistable: Callable[[OSError], None] | None) -> Iterator[Path]:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        if unlistable is None:
            raise
        unlistable(error)
        return
    folders = []
    for entry in entries:
        if entry.is_dir():
            folders.append(entry)
        elif entry.is_file():
            yield entry
    for below in folders:
        real = real_path(below)
        if real not in entered:
            entered.add(real)
            yield from _walk(below, entered, unlistable)
