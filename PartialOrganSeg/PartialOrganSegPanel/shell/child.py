"""The library's command as a child process of Slicer's Python, read line by line without blocking the window."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import qt

LEASH = Path(__file__).resolve().parent / "leash.py"
GRACE_S = 1.2  # for a tidy end; with the time to notice it, Cancel takes less than two seconds
FAILED_TO_START = 0  # QProcess::ProcessError

_running: set[ChildProcess] = set()  # Qt waits for a process whose object is dropped, and the window with it


def slicer_python() -> str:
    """Slicer's Python; this process's own where there is no Slicer launcher."""
    return shutil.which("PythonSlicer") or sys.executable


class ChildProcess:
    """See `services.Process`. Standard output arrives at `on_line`, standard error at `on_log`."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self.on_line: Callable[[str], None] = lambda _text: None
        self.on_log: Callable[[str], None] = lambda _text: None
        self.on_finished: Callable[[int, bool], None] = lambda _code, _crashed: None
        self._grace_s = grace_s
        self._finished = False
        self._leash_pid = 0  # leads the group of the command and all its children
        self._output = _Lines()
        self._errors = _Lines()
        self._process = qt.QProcess()
        self._process.connect("readyReadStandardOutput()", self._read)
        self._process.connect("readyReadStandardError()", self._read)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._on_finished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._on_error)

    def start(self, arguments: Sequence[str]) -> None:
        _running.add(self)
        self._process.start(slicer_python(), ["-u", str(LEASH), str(self._grace_s), *map(str, arguments)])

    def send(self, line: str) -> None:
        if not self._finished:
            self._process.write(f"{line}\n".encode())

    @property
    def pid(self) -> int:
        """Process id of what was started, 0 when none runs: Slicer's launcher where there is one."""
        return int(self._process.processId())

    def cancel(self) -> None:
        # the leash ends the command, tidily if it can, when its standard input is closed; else it is killed
        self._process.closeWriteChannel()
        qt.QTimer.singleShot(int(1000 * self._grace_s) + 300, self.kill)

    def kill(self) -> None:
        pid = self.pid
        if self._finished or not pid:
            return
        self._process.closeWriteChannel()  # a leash that has not said its process id yet ends when it looks
        # the launcher's children do not end with it: the whole tree, or the leash's process group, is killed
        if os.name == "nt":
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], check=False, capture_output=True,
                           creationflags=subprocess.CREATE_NO_WINDOW)
        elif self._leash_pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._leash_pid, signal.SIGKILL)
        self._process.kill()

    def wait(self, seconds: float) -> None:
        """Blocks until it has ended; for the moment in which Slicer itself ends."""
        self._process.waitForFinished(int(1000 * seconds))

    def _read(self) -> None:
        for line in self._output.add(_bytes(self._process.readAllStandardOutput())):
            if not self._leash_pid and (pid := _leash_pid(line)):
                self._leash_pid = pid
            else:
                self.on_line(line)
        for line in self._errors.add(_bytes(self._process.readAllStandardError())):
            self.on_log(line)

    def _on_finished(self, code: int, status: object) -> None:
        if self._finished:
            return
        self._read()
        for line in self._errors.last_line():
            self.on_log(line)
        self._finished = True
        _running.discard(self)
        self.on_finished(int(code), int(status) != 0)

    def _on_error(self, error: object) -> None:
        if int(error) == FAILED_TO_START and not self._finished:
            self._finished = True
            _running.discard(self)
            self.on_log(f"{slicer_python()}: could not be started")
            self.on_finished(-1, True)


def _leash_pid(line: str) -> int:
    """The process id in the leash's first line, 0 in any other."""
    try:
        event = json.loads(line)
        if event["event"] == "leash":
            return int(event["pid"])
    except (ValueError, KeyError, TypeError):  # no JSON, or not an object with these fields
        pass
    return 0


class _Lines:
    """Bytes as they come, cut into whole lines."""

    def __init__(self) -> None:
        self._pending = b""

    def add(self, data: bytes) -> list[str]:
        # decoded line by line: a piece may end in the midst of a letter of several bytes
        *lines, self._pending = (self._pending + data).split(b"\n")
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]

    def last_line(self) -> list[str]:
        """The last line, if it has no end."""
        if not self._pending:
            return []
        return self.add(b"\n")


def _bytes(array: object) -> bytes:
    """Content of a QByteArray."""
    return bytes(array.data())
