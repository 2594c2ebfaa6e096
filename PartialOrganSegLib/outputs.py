"""Output folders: tried before the work starts, and filled with a case's files all at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from .atomic import put_in_place
from .cancelling import uninterrupted
from .errors import Code, Problem, UserError
from .real_paths import real_path
from .scratch import EARLIER, NEW, finish_and_remove, scratch_folder

_PROBE_BYTES = 1 << 20  # more than a file system keeps aside for small files when its disk is full
# Bytes of a name in the hidden folder's. The name comes again in the files' own, and Windows takes 259 letters in all.
_LONGEST_NAME, _LONGEST_BEFORE = 16, 120  # that of versions up to 0.5.0


def writable_folder(path: Path) -> Path:
    """Makes an output folder if needed and tries it with a small file. Raises UserError with the reason."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
    except OSError as error:
        obstacle = "a file" if os.path.isfile(path) else (error.strerror or str(error)).lower()
        raise UserError(code=Code.NOT_WRITABLE, subject=path, expected="a folder that can be written",
                        found=obstacle) from error
    return path


def missing_folders(path: Path) -> list[Path]:
    """Of a folder and those it lies in the ones that are not there, the innermost first: `remove_empty` takes them away
    again where what they were made for fails."""
    return [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]


def remove_empty(folders: Iterable[Path]) -> None:
    """Removes those that are empty, the innermost first; others stay, and so do those they lie in."""
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):  # a name with a NUL
            folder.rmdir()


@contextlib.contextmanager
def all_at_once(folder: Path, name: str = "") -> Iterator[Path]:
    """Yields an empty folder inside `folder`; what was written there moves up together on success, else it vanishes.

    `name` is in the hidden folder's name, see `finish_leftovers`. Raises UserError naming the final place when writing
    fails.
    """
    new: Path | None = None
    try:
        with scratch_folder(folder, f".partial-{_short(name)}-") as scratch:
            new = scratch / NEW
            new.mkdir()
            yield new
            # Between the first rename and the last the folder holds results of two runs.
            with uninterrupted():
                _move_up(new, scratch / EARLIER, folder)
    except (OSError, UserError) as error:
        problem = Problem(Code.NOT_WRITABLE, str(folder), found=f"could not be written: {error}")
        if isinstance(error, UserError):
            problem = error.problem
        raise UserError(problem.with_text(str(new), str(folder))) from error


def _short(name: str, longest: int = _LONGEST_NAME) -> str:
    """A name that leaves room for more in a path: one of more than `longest` bytes by its checksum."""
    encoded = name.encode("utf-8", "surrogatepass")
    if len(encoded) <= longest:
        return name
    return hashlib.sha256(encoded).hexdigest()[:16]


def _move_up(new: Path, earlier: Path, folder: Path) -> None:
    """Moves the files in `new` to `folder`, each in one step. Earlier ones there are put back if one cannot be moved.

    Windows does not replace a file that a program has open. Raises OSError, and UserError where an earlier file could
    not even be put back.
    """
    names = sorted(path.name for path in new.iterdir())
    placed: list[str] = []
    earlier.mkdir()
    try:
        for name in names:
            if os.path.exists(folder / name):
                _keep(folder / name, earlier / name)
        for name in names:
            put_in_place(new / name, folder / name)
            placed.append(name)
    except OSError as error:
        for name in names:
            with contextlib.suppress(OSError):
                _put_back(earlier / name, folder / name, name in placed)
        if any(earlier.iterdir()):
            # The scratch folder is about to be removed, and somebody's results must not go with it.
            rescued = folder / f"earlier-results-{uuid.uuid4().hex[:8]}"
            put_in_place(earlier, rescued)
            raise UserError(code=Code.NOT_WRITABLE, subject=folder, found=f"could not be written: {error}",
                            hint=f"earlier results, which could not be put back, are in {rescued}") from error
        raise


def _keep(file: Path, copy: Path) -> None:
    """Keeps an earlier file under a second name, so that at no moment there is none; or moves it. Raises OSError."""
    try:
        os.link(file, copy)
    except OSError:  # a folder, or a file system without a second name for a file
        put_in_place(file, copy)


def _put_back(earlier: Path, target: Path, replaced: bool) -> None:
    """Undoes the move of one file. Raises OSError."""
    if not earlier.exists():
        if replaced:
            target.unlink()
    elif target.exists() and os.path.samefile(earlier, target):  # a rename of two names of one file does nothing
        earlier.unlink()
    else:
        put_in_place(earlier, target)


def finish_leftovers(folder: Path, name: str) -> bool:
    """Ends what a killed process had begun with `all_at_once(folder, name)`: what it had written whole moves up, all
    else goes. Says whether anything had begun to move. Only for whoever is alone with that name."""
    begun = False
    names = "|".join(re.escape(_short(name, longest)) for longest in (_LONGEST_NAME, _LONGEST_BEFORE))
    for path in folder.glob(".partial-*"):
        if re.fullmatch(rf"\.partial-({names})-[a-z0-9_]+", path.name):
            with contextlib.suppress(OSError):
                begun = finish_and_remove(path) or begun
    return begun


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raises UserError for an output that is one of the `inputs`, whether or not it may be overwritten."""
    read = {real_path(path) for path in inputs}
    for path in outputs:
        if real_path(path) in read:
            raise UserError(code=Code.FILE_EXISTS, subject=path, expected="another file than the one that is read",
                            found="the same", hint="choose another -o")


def refuse_existing(paths: list[Path], overwrite: bool) -> None:
    """Raises UserError for the first of `paths` that exists, unless it may be overwritten."""
    existing = next((path for path in paths if os.path.exists(path)), None)
    if existing and not overwrite:
        raise UserError(code=Code.FILE_EXISTS, subject=existing, expected="no such file yet", found="an earlier result",
                        hint="--overwrite replaces it")
