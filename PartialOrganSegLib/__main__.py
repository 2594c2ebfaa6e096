"""The command `partialorganseg`, also as `python -m PartialOrganSegLib`: Ctrl+C is one line from the first moment.

Importing the command's own code takes a tenth of a second and more, in which Python would answer with a traceback.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

# As `cli` says it later; written out, since nothing can be imported in the middle of an import.
_LINE = b"error: cancelled\n"
_EVENT = (b'{"event": "error", "message": "cancelled", "code": "cancelled", "subject": "", "expected": "", '
          b'"found": "cancelled", "hint": ""}\n')
_CANCELLED = 130


def command() -> int:
    """Runs the process's command line and returns its exit code."""
    # Where it is ignored, as in a shell's background jobs, it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    from .cli import main

    return main()


def _end(_signal: int, _frame: object) -> None:
    """Ends at once: an exception might be caught or lost by whatever is being imported."""
    stream, words = (1, _EVENT) if "--json-events" in sys.argv else (2, _LINE)
    with contextlib.suppress(OSError):  # closed
        os.write(stream, words)
    os._exit(_CANCELLED)


if __name__ == "__main__":
    sys.exit(command())
