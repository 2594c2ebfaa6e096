"""Cases in a process apart, which may be ended: beyond a time limit or a memory limit, or from another thread."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import psutil

from ..cancelling import signals_held
from ..errors import Code, UserError
from ..events import Reporter
from ..outputs import all_at_once
from ..segmenting.options import SegmentOptions
from .case_segmenter import existing
from .cases import Case
from .messages import (
    ENDED,
    Answer,
    Failed,
    Progress,
    Ready,
    Start,
    Task,
    Warned,
    Written,
    read_message,
    write_message,
)
from .options import BatchOptions
from .processing import OnFilesWritten
from .records import OrganRow

POLL_S = 0.05
GIB = 1 << 30
_MODULE = "PartialOrganSegLib.batch.case_process"


class StoppedError(BaseException):
    """Ends a segmenter's work that another thread stopped: as KeyboardInterrupt, no fault of a case."""


class CaseSegmenterApart:
    """Segments cases as `CaseSegmenter` does, in a process that is killed when a case takes more than `options` allow.

    The next case gets a new process. Close it.
    """

    threads: int | None = None  # of the next case at most; None: as many as PyTorch takes

    def __init__(self, segment_options: SegmentOptions, options: BatchOptions, log: Path) -> None:
        self._start = Start(segment_options, log)
        self._preview = segment_options.preview
        self._minutes, self._gib = options.time_limit, options.memory_limit
        self._process: _Process | None = None
        self._stopped = threading.Event()

    def stop(self) -> None:
        """From another thread: what it does and what it is asked next ends with `StoppedError`, within moments."""
        self._stopped.set()

    def process_id(self) -> int:
        """The process whose memory a case takes; this one until another is started."""
        return os.getpid() if self._process is None else self._process.pid

    def prepare(self) -> None:
        """Starts a process that has loaded the network, unless there is one. Raises UserError as `CaseSegmenter`."""
        self.ready()

    def ready(self) -> Ready:
        """What its process, which is started unless there is one, says of itself. Raises UserError as `prepare`."""
        if self._process is not None:
            return self._process.ready
        process = _Process(self._start)
        try:
            while (answer := process.next_answer(POLL_S)) is None:
                self._check_stopped()
            if isinstance(answer, Failed):
                raise UserError(answer.problem)
            if not isinstance(answer, Ready):
                raise UserError(code=Code.WORKER_DIED, found=f"the process for cases died {process.end()}",
                                hint="perhaps for lack of memory")
        except BaseException:
            process.kill()
            raise
        process.ready, self._process = answer, process
        return answer

    def __call__(self, case: Case, folder: Path, reporter: Reporter,
                 on_files_written: OnFilesWritten | None = None) -> list[OrganRow]:
        """Segments and writes one CT; a row for each organ. Raises UserError for what went wrong, and beyond a limit.
        """
        # Here, not in the process: whatever ends that, the folder goes.
        with all_at_once(folder, case.name) as scratch:
            files = case.outputs(scratch, self._preview)
            answer = self._written(case, files, reporter)
            if on_files_written is not None:
                on_files_written(existing(files), answer.rows)
        if answer.not_written is not None:
            raise UserError(answer.not_written.with_text(str(scratch), str(folder)))
        return answer.rows

    def _written(self, case: Case, files: Mapping[str, Path], reporter: Reporter) -> Written:
        self.prepare()
        process = self._process
        assert process is not None
        try:
            process.send(Task(case, dict(files), self.threads))
            deadline = None if self._minutes is None else time.monotonic() + self._minutes * 60
            while True:
                answer = process.next_answer(POLL_S)
                if isinstance(answer, Written):
                    return answer
                if isinstance(answer, Failed):
                    raise UserError(answer.problem)
                if answer is ENDED:
                    raise UserError(code=Code.WORKER_DIED, subject=case.path,
                                    found=f"its process died {process.end()}", hint="perhaps for lack of memory")
                _pass_on(answer, reporter)
                self._check_stopped()
                self._check_limits(process, case, deadline)
        except BaseException as error:
            # After a problem that it explained itself the process is as good as before.
            if not isinstance(error, UserError) or not process.waits():
                process.kill()
                self._process = None
            raise

    def _check_stopped(self) -> None:
        if self._stopped.is_set():
            raise StoppedError

    def _check_limits(self, process: _Process, case: Case, deadline: float | None) -> None:
        if deadline is not None and time.monotonic() > deadline:
            raise UserError(code=Code.TIME_LIMIT, subject=case.path, expected=f"at most {self._minutes:g} minutes",
                            found="more", hint="see --time-limit")
        if self._gib is not None and process.memory() > self._gib * GIB:
            raise UserError(code=Code.NO_MEMORY, subject=case.path, expected=f"at most {self._gib:g} GiB of memory",
                            found="more", hint="see --memory-limit")

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process = None


def _pass_on(answer: Answer | None, reporter: Reporter) -> None:
    if isinstance(answer, Progress):
        reporter.progress(answer.stage, answer.done, answer.total)
    elif isinstance(answer, Warned):
        reporter.warning(answer.warning)


class _Process:
    """The process and the pipes to it."""

    def __init__(self, start: Start) -> None:
        # This package, wherever the process starts and however it is installed.
        root = str(Path(__file__).resolve().parents[2])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
        with signals_held():  # from the process too, which ignores them as soon as it can
            self._child = subprocess.Popen([sys.executable, "-m", _MODULE], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, env=environment)
        self.ready: Ready  # once it has said so
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        # What was started may only start Python in its turn, as python.exe of a virtual environment does on Windows.
        self._worker: psutil.Process | None = None
        self._working = True
        assert self._child.stdout is not None
        threading.Thread(target=_receive, args=(self._child.stdout, self._answers), daemon=True).start()
        self.send(start)

    @property
    def pid(self) -> int:
        """Of the process that does the work, once it is ready."""
        return self._child.pid if self._worker is None else self._worker.pid

    def send(self, message: Start | Task) -> None:
        assert self._child.stdin is not None
        self._working = True
        with contextlib.suppress(OSError):  # of one that has died: its end is the answer
            write_message(message, self._child.stdin)

    def next_answer(self, timeout_s: float | None) -> Answer | None:
        """The next one, or None after `timeout_s`."""
        try:
            answer = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(answer, Ready) and answer.process_id != self._child.pid:
            with contextlib.suppress(psutil.Error):  # of one that has died already: its end is the next answer
                self._worker = psutil.Process(answer.process_id)
        if isinstance(answer, (Ready, Written, Failed)):
            self._working = False
        return answer

    def waits(self) -> bool:
        """Whether it has answered what it was sent."""
        return not self._working and self._child.poll() is None

    def memory(self) -> int:
        """Its resident memory in bytes; 0 when it has ended."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def end(self) -> str:
        """How it ended, once it has: "(signal 9)" or "(exit code 1)"."""
        code = self._child.wait()
        return f"(signal {-code})" if code < 0 else f"(exit code {code})"

    def kill(self) -> None:
        """Ends it at once, whatever it does."""
        if self._worker is not None:
            with contextlib.suppress(psutil.Error):
                self._worker.kill()
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _receive(pipe: BinaryIO, answers: queue.SimpleQueue[Answer]) -> None:
    """Puts what comes through the pipe into the queue, at last `ENDED`."""
    # The pipe may end in the middle of an answer, and is closed while it is read when the process is killed.
    with contextlib.suppress(EOFError, OSError, ValueError):
        while True:
            answers.put(read_message(pipe))
    answers.put(ENDED)
