"""Where tracebacks go, so that the screen shows one line an error."""

from __future__ import annotations

import datetime
import os
import sys
import tempfile
import traceback
from pathlib import Path

from . import __version__
from .errors import Code, Problem, UserError

NAME = "partialorganseg.log"


def user_log() -> Path:
    """The log of commands without an output folder: the system's place for a user's logs."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "partialorganseg" / "Logs"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Logs" / "partialorganseg"
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "partialorganseg"
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


def explain_case(error: Exception, case: Path, log: Path) -> Problem:
    """What stopped one of several cases; every traceback goes to the log."""
    if isinstance(error, UserError):
        record(error, log)
        return error.problem
    return Problem(Code.INTERNAL, str(case), found=explain(error, log))
