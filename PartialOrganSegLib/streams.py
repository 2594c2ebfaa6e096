"""The process's output as it may be: closed, full, or a pipe that nobody reads any more. None of it stops the work."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

_SHOWN_CONTROLS = {"\n", "\r", "\t"}


def open_closed_streams() -> None:
    """Opens the null device in place of standard streams that are closed, as daemons and schedulers leave them.

    Else the next file that is opened would take their number, and what is printed would go into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, and those below are open by now.
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="backslashreplace",  # noqa: SIM115
                                    closefd=False))


class ForgivingStream:
    """A text stream whose failures are left aside: what cannot be told any more must not change what is done.

    Control characters reach no terminal, apart from line ends, tabs and the returns of progress bars: names of files
    and texts in headers may hold commands for it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._failed = False

    def write(self, text: str) -> int:
        """Writes the text, unless writing failed before."""
        if not self._failed:
            try:
                self._stream.write(_shown(text))
            except (OSError, ValueError):  # ValueError: somebody closed it
                self._failed = True
        return len(text)

    def flush(self) -> None:
        """Flushes the stream, unless writing failed before."""
        if not self._failed:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._failed = True

    def writelines(self, lines: Any) -> None:
        """Writes each of the lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:  # isatty, encoding, fileno, buffer: what libraries ask of a stream
        return getattr(self._stream, name)


def _shown(text: str) -> str:
    if all(letter.isprintable() or letter in _SHOWN_CONTROLS for letter in text):
        return text
    letters = []
    for letter in text:
        is_control = ord(letter) < 32 or 127 <= ord(letter) < 160
        if is_control and letter not in _SHOWN_CONTROLS:
            letter = letter.encode("unicode_escape").decode("ascii")
        letters.append(letter)
    return "".join(letters)


@contextlib.contextmanager
def forgiving_output() -> Iterator[None]:
    """Inside, stdout and stderr are `ForgivingStream`s."""
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = ForgivingStream(stdout), ForgivingStream(stderr)
    try:
        yield
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        sys.stdout, sys.stderr = stdout, stderr


def drop_unwritten() -> None:
    """Lets go of what a closed or full stream did not take, so that Python does not fail on it as it ends."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, number)
                os.close(null)
