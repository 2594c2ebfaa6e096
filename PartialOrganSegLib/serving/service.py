"""Answers requests: one CT at a time, some wait, more are refused; what was written of a CT goes with its answer."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .. import logfile
from ..errors import Code, Problem, UserError
from ..events import JsonReporter
from ..scratch import scratch_folder
from ..segmenting.segmenter import Segmenter
from .framing import RequestHead, Source, copy_to_file, pieces_of, read_head
from .upload import named_upload

PREFIX = "partialorganseg-serve-"  # of scratch folders
LOOK_S = 0.5  # between two looks whether the one before is done
NAME = "ct"  # what results are called here: names of files may name patients


class Abandoned(BaseException):
    """Whoever asked has gone. No Exception: nothing on its way may take it for a problem of the CT."""


@dataclass(frozen=True)
class Limits:
    """`bytes` of a CT's file, `waiting` requests beside the one that is worked at."""

    bytes: int = 2 << 30
    waiting: int = 4


class Service:
    """A loaded model for one request after the other; threads may ask at the same time."""

    def __init__(self, segmenter: Segmenter, scratch: Path, limits: Limits | None = None,
                 log: Callable[[str], None] = lambda line: None) -> None:
        self.segmenter, self.limits = segmenter, limits or Limits()
        self._scratch, self._log = scratch, log
        self._working, self._counting = threading.Lock(), threading.Lock()
        self._inside = self._number = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[bool]:
        """Whether there is room for one request more, for as long as the block runs."""
        with self._counting:
            room = self._inside <= self.limits.waiting
            self._inside += room
        try:
            yield room
        finally:
            with self._counting:
                self._inside -= room

    def answer(self, source: Source, send: Callable[[bytes], None]) -> None:
        """Reads a request and sends its answer; problems of the request are part of it. Raises Abandoned."""
        with self._counting:
            self._number += 1
            number = self._number
        start = time.monotonic()
        reporter = JsonReporter(_Sender(send))
        try:
            with scratch_folder(self._scratch, PREFIX) as folder:
                self._work(source, folder, reporter, send)
            outcome = "done"
        except UserError as error:
            reporter.error(_without_paths(error.problem, self._scratch))
            outcome = error.problem.code.value
        except Exception as error:
            # What it was stands in the server's log: it may tell of the server what is nobody's business.
            logfile.record(error, logfile.user_log())
            reporter.error(Problem(Code.INTERNAL, "server", found="something went wrong there; its log says what"))
            outcome = "failed"
        send(_line({"event": "end"}))
        self._log(f"request {number}: {outcome}, {time.monotonic() - start:.0f} s")

    def _work(self, source: Source, folder: Path, reporter: JsonReporter, send: Callable[[bytes], None]) -> None:
        head = read_head(source)
        if head.size > self.limits.bytes:
            raise UserError(code=Code.TOO_LARGE, subject="the CT", found=f"{head.size >> 20} MiB",
                            expected=f"at most {self.limits.bytes >> 20} MiB")
        segmenter = self._segmenter_for(head)  # an unknown organ is found before the CT is sent
        upload = folder / "upload"
        copy_to_file(source, head.size, upload)
        ct = named_upload(upload)
        while not self._working.acquire(timeout=LOOK_S):
            reporter.progress("waiting for the CT before", 0, 1)  # raises Abandoned where nobody waits any more
        try:
            start = time.monotonic()
            result = segmenter(ct, reporter=reporter)
            files = result.save(folder / "result", name=NAME, reporter=reporter)
            seconds = round(time.monotonic() - start, 2)
        finally:
            self._working.release()
        for kind, path in files.items():
            send(_line({"event": "file", "kind": kind, "size": path.stat().st_size}))
            for piece in pieces_of(path):
                send(piece)
        reporter.result(organs=result.organ_events, seconds=seconds)

    def _segmenter_for(self, head: RequestHead) -> Segmenter:
        options = replace(self.segmenter.options, organs=head.organs, force=head.force, preview=head.preview)
        return Segmenter(options, self.segmenter.predictor)


class _Sender(io.StringIO):
    """The stream of a reporter. A reporter goes on when nobody reads; a server must not."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self._send = send

    def write(self, text: str, /) -> int:
        self._send(text.encode())
        return len(text)

    def flush(self) -> None:
        """Everything was sent."""


def _line(event: dict[str, object]) -> bytes:
    return json.dumps(event).encode() + b"\n"


def _without_paths(problem: Problem, scratch: Path) -> Problem:
    """The problem with `the CT` in place of paths of the server, which are nobody's business."""
    path = re.compile(re.escape(f"{scratch}{os.sep}") + r"[\w.-]+([/\\][\w.-]+)*")
    subject, expected, found, hint = (
        path.sub("the CT", text) for text in (problem.subject, problem.expected, problem.found, problem.hint))
    return replace(problem, subject=subject, expected=expected, found=found, hint=hint)
