"""Where tracebacks go, so that the screen shows one line an error."""

from __future__ import annotations

import datetime
import errno
import os
import sys
import tempfile
import traceback
from pathlib import Path

from . import __version__
from .errors import Code, Problem, UserError
from .real_paths import home_folder

NAME = "partialorganseg.log"
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_LONGEST_SHOWN = 300  # letters of a file's name


def user_log() -> Path:
    """The log of commands without an output folder: in the system's place for a user's logs, or in the temporary folder
    where the user has no home folder."""
    home = home_folder()
    if home is None:
        return Path(tempfile.gettempdir()) / NAME
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "partialorganseg" / "Logs"
    elif sys.platform == "darwin":
        base = home / "Library" / "Logs" / "partialorganseg"
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "partialorganseg"
    return base / NAME


def record(error: BaseException, log: Path) -> Path | None:
    """Appends an error's traceback to `log`, else to one in the temporary folder. None if neither can be written."""
    text = "".join(traceback.format_exception(error))
    entry = f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S} partialorganseg {__version__}: {' '.join(sys.argv)}\n{text}\n"
    # A full or read-only output folder may be the very error; the temporary folder is often on another disk.
    for path in (log, Path(tempfile.gettempdir()) / NAME):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a", encoding="utf-8", errors="backslashreplace") as handle:
                handle.write(entry)
        except OSError:  # a log that cannot be written must not hide the error itself
            continue
        return path
    return None


def explain(error: BaseException, log: Path) -> str:
    """One line for an error nobody foresaw; its traceback is recorded in the log that the line names."""
    place = record(error, log)
    reason = " ".join(str(error).split())[:300] or "no further word"
    return f"{type(error).__name__}: {reason}; details: {place or 'could not be written'}"


def explain_command(error: Exception, log: Path) -> Problem:
    """What stopped a command that nobody foresaw. What the system says of a file is a line of its own kind."""
    problem = _of_file(error)
    if problem is None:
        return Problem(Code.INTERNAL, found=explain(error, log))
    record(error, log)
    return problem


def explain_case(error: Exception, case: Path, log: Path) -> Problem:
    """What stopped one of several cases; every traceback goes to the log."""
    if isinstance(error, UserError):
        record(error, log)
        return error.problem
    problem = _of_file(error)
    if problem is None:
        return Problem(Code.INTERNAL, str(case), found=explain(error, log))
    record(error, log)
    if problem.subject == str(case):
        return problem
    return problem.within(case)


def _of_file(error: Exception) -> Problem | None:
    """The problem that an error of the system names a file for: no such folder, a name too long, a full disk."""
    if not isinstance(error, OSError) or not isinstance(error.filename, (str, Path)) or not error.strerror:
        return None
    code, expected = Code.NOT_READABLE, "a file or folder that can be opened"
    if error.errno in _OF_WRITING:
        code, expected = Code.NOT_WRITABLE, "a file that can be written"
    name = str(error.filename)
    if len(name) > _LONGEST_SHOWN:
        name = f"{name[:_LONGEST_SHOWN]}..."
    return Problem(code, name, expected, error.strerror)
