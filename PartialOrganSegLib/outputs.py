"""Output folders: tried before the work starts, and filled with a case's files all at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from .atomic import put_in_place
from .cancelling import uninterrupted
from .errors import Code, Problem, UserError

_PROBE_BYTES = 1 << 20  # more than a file system keeps aside for small files when its disk is full
_LONGEST_NAME = 120  # bytes


def writable_folder(path: Path) -> Path:
    """Makes an output folder if needed and tries it with a small file. Raises UserError with the reason."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
    except OSError as error:
        obstacle = "a file" if path.is_file() else (error.strerror or str(error)).lower()
        raise UserError(code=Code.NOT_WRITABLE, subject=path, expected="a folder that can be written",
                        found=obstacle) from error
    return path


@contextlib.contextmanager
def all_at_once(folder: Path, name: str = "") -> Iterator[Path]:
    """Yields an empty folder inside `folder`; what was written there moves up together on success, else it vanishes.

    `name` is in the hidden folder's name, see `remove_leftovers`. Raises UserError naming the final place when writing
    fails.
    """
    scratch: Path | None = None
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f".partial-{_short(name)}-", dir=folder))
        yield scratch
        # Between the first rename and the last the folder holds results of two runs.
        with uninterrupted():
            _move_up(scratch, folder)
    except (OSError, UserError) as error:
        problem = Problem(Code.NOT_WRITABLE, str(folder), found=f"could not be written: {error}")
        if isinstance(error, UserError):
            problem = error.problem
        raise UserError(problem.with_text(str(scratch), str(folder))) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _short(name: str) -> str:
    """A name that leaves room for more in a file's name: one that is long, or cannot be part of it, by its checksum."""
    encoded = name.encode("utf-8", "surrogatepass")
    if len(encoded) <= _LONGEST_NAME:
        return name
    return hashlib.sha256(encoded).hexdigest()[:16]


def _move_up(scratch: Path, folder: Path) -> None:
    """Moves the files in `scratch` to `folder`. Earlier ones there give way first: all of them or, on failure, none.

    Windows neither replaces nor moves a file that a program has open. Raises OSError, and UserError where an earlier
    file could not even be put back.
    """
    names = sorted(path.name for path in scratch.iterdir())
    earlier = scratch / ".earlier"
    earlier.mkdir()
    moves = [(folder / name, earlier / name) for name in names if (folder / name).exists()]
    moves += [(scratch / name, folder / name) for name in names]
    completed: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            os.replace(source, target)
            completed.append((source, target))
    except OSError as error:
        for source, target in reversed(completed):
            with contextlib.suppress(OSError):
                os.replace(target, source)
        if any(earlier.iterdir()):
            # The scratch folder is about to be removed, and somebody's results must not go with it.
            rescued = folder / f"earlier-results-{uuid.uuid4().hex[:8]}"
            put_in_place(earlier, rescued)
            raise UserError(code=Code.NOT_WRITABLE, subject=folder, found=f"could not be written: {error}",
                            hint=f"earlier results, which could not be put back, are in {rescued}") from error
        raise


def remove_leftovers(folder: Path, name: str) -> None:
    """Removes what a killed process left of `all_at_once(folder, name)`. Only for whoever is alone with that name."""
    for path in folder.glob(".partial-*"):
        if re.fullmatch(rf"\.partial-{re.escape(_short(name))}-[a-z0-9_]+", path.name):
            shutil.rmtree(path, ignore_errors=True)


def refuse_existing(paths: list[Path], overwrite: bool) -> None:
    """Raises UserError for the first of `paths` that exists, unless it may be overwritten."""
    existing = next((path for path in paths if path.exists()), None)
    if existing and not overwrite:
        raise UserError(code=Code.FILE_EXISTS, subject=existing, expected="no such file yet", found="an earlier result",
                        hint="--overwrite replaces it")
