"""Corrections on request, as long as a program keeps on asking: `refine --serve`, by which the panel in Slicer draws.

A request is a line of JSON, `{"id": 1, "file": "1.npz", "box": [z0, z1, y0, y1, x0, x1], "accepted": ["liver"]}`. The
file lies in the served folder and holds three uint8 arrays (z, y, x) of the box: `labels` as the program has them now,
`drawn`, all strokes, and `new`, those to be obeyed, both 255 where nothing is drawn. `{"cancel": 1}` ends request 1.

The answer is a `result` event: `id`; the changed `box` and the `file` with its new `labels`, both null where no voxel
changed; `changes` of each organ; `seconds`. Or `id` and `cancelled`, or `id` and the `problem` of a bad request; of
a line that has no `id`, 0.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import Code, Problem, UserError, kind_of
from ..events import Reporter
from ..imaging.shapes import Box3, LabelMap
from ..imaging.volume import Volume
from ..json_file import parse_json
from .neighbourhood import NOT_DRAWN
from .session import Correction, RefineCancelled, RefineSession

_ARRAYS = "arrays labels, drawn and new"
_LONGEST_NAME = 200  # of a file, which most systems allow 255 bytes


class _Request(BaseModel):
    """A line of a program: a correction, or the cancellation of one."""

    model_config = ConfigDict(extra="forbid")
    id: int = 0
    file: str = Field(default="", pattern=r"^[\w.-]*$", max_length=_LONGEST_NAME)
    box: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0)
    accepted: tuple[str, ...] = ()
    cancel: int | None = None


@dataclass(frozen=True)
class _Drawn:
    """What the file of a request holds, each (z, y, x) of its box."""

    labels: LabelMap
    drawn: LabelMap
    new: LabelMap


@dataclass(frozen=True)
class _BadRequest:
    """A line that is none, with the number that its answer has."""

    number: int
    problem: Problem


class Server:
    """Answers the requests for one session, one after the other, in the order in which they come."""

    def __init__(self, session: RefineSession, folder: Path, reporter: Reporter) -> None:
        self._session, self._folder, self._reporter = session, folder, reporter
        self._waiting: queue.Queue[_Request | _BadRequest | BaseException | None] = queue.Queue()
        self._lock = threading.Lock()
        self._working_on: int | None = None
        self._cancelled: set[int] = set()

    def run(self, lines: Iterable[str]) -> None:
        """Returns when `lines` end. They are read by another thread, so that a cancellation comes at once. Raises what
        ended that thread."""
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()
        while True:
            request = self._waiting.get()
            if request is None:
                return
            if isinstance(request, _BadRequest):
                self._reporter.result(id=request.number, problem=request.problem.as_event())
            elif isinstance(request, BaseException):
                raise request
            else:
                self._answer(request)

    def _read(self, lines: Iterable[str]) -> None:
        try:
            for line in lines:
                self._take(line)
        except BaseException as error:  # whatever it is: nobody would ever tell the server to end
            self._waiting.put(error)
        else:
            self._waiting.put(None)

    def _take(self, line: str) -> None:
        """Puts a request into the queue, or the problem of a bad one; a cancellation is done at once."""
        content: object = None
        try:
            content = parse_json(line, "request", "a line of JSON")
            request = _Request.model_validate(content)
        except UserError as error:
            self._waiting.put(_BadRequest(0, error.problem))
            return
        except (ValidationError, RecursionError) as error:
            problem = Problem(Code.WRONG_FORMAT, "request", "a line of JSON", str(error).splitlines()[0])
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                subject = ": ".join(["request", *map(str, first["loc"][:1])])
                problem = Problem(Code.WRONG_FORMAT, subject, found=first["msg"])
                if not isinstance(content, dict):  # pydantic says it with the name of a class of ours
                    problem = Problem(Code.WRONG_FORMAT, "request", "fields (key: value)", kind_of(content))
            self._waiting.put(_BadRequest(_number_of(content), problem))
            return
        if request.cancel is None and not request.file:
            problem = Problem(Code.WRONG_FORMAT, "request: file", "a file's name in the served folder", "none")
            self._waiting.put(_BadRequest(request.id, problem))
            return
        if request.cancel is None:
            self._waiting.put(request)
            return
        with self._lock:
            self._cancelled.add(request.cancel)
            if self._working_on == request.cancel:
                self._session.cancel()

    def _answer(self, request: _Request) -> None:
        since = time.perf_counter()
        with self._lock:
            self._working_on = request.id
        correction: Correction | None = None
        try:
            with contextlib.suppress(RefineCancelled):
                correction = self._correct(request)
        except UserError as error:
            self._reporter.result(id=request.id, problem=error.problem.as_event())
            return
        finally:
            with self._lock:
                self._working_on = None
                cancelled = request.id in self._cancelled
        if correction is not None and not cancelled:
            try:
                self._report(request.id, correction, time.perf_counter() - since)
            except UserError as error:
                self._session.undo()
                self._reporter.result(id=request.id, problem=error.problem.as_event())
            return
        # The cancellation came when the work was just done.
        if correction is not None:
            self._session.undo()
        self._reporter.result(id=request.id, cancelled=True)

    def _correct(self, request: _Request) -> Correction:
        self._keep_on(request)
        z0, z1, y0, y1, x0, x1 = request.box
        box = (slice(z0, z1), slice(y0, y1), slice(x0, x1))
        drawn = self._load(request)
        grid = self._session.grid
        self._session.take_over(box, drawn.labels, drawn.drawn, request.accepted)
        strokes = np.full(grid.shape, NOT_DRAWN, np.uint8)
        strokes[box] = drawn.new
        # The session forgets what was cancelled before it begins.
        self._keep_on(request)
        return self._session.add(Volume(strokes, grid))

    def _keep_on(self, request: _Request) -> None:
        with self._lock:
            if request.id in self._cancelled:
                raise RefineCancelled("cancelled")

    def _load(self, request: _Request) -> _Drawn:
        path = self._folder / request.file
        z0, z1, y0, y1, x0, x1 = request.box
        expected = (z1 - z0, y1 - y0, x1 - x0)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                drawn = _Drawn(arrays["labels"], arrays["drawn"], arrays["new"])
        except OSError as error:
            raise UserError(code=Code.WRONG_FORMAT, subject=path, expected=_ARRAYS,
                            found=error.strerror or error) from None
        except Exception as error:  # damaged archives raise nearly anything, single arrays TypeError
            raise UserError(code=Code.WRONG_FORMAT, subject=path, expected=_ARRAYS, found=error) from None
        for array in (drawn.labels, drawn.drawn, drawn.new):
            if array.shape != expected or array.dtype != np.uint8:
                raise UserError(code=Code.WRONG_FORMAT, subject=path, expected=f"uint8 of {expected}",
                                found=f"{array.dtype} of {array.shape}")
        return drawn

    def _report(self, number: int, correction: Correction, seconds: float) -> None:
        file: str | None = None
        box: list[int] | None = None
        if correction.region is not None:
            file, box = f"{number}.answer.npz", _bounds(correction.region)
            try:
                np.savez(self._folder / file, labels=correction.labels.array[correction.region])
            except OSError as error:  # a disk that is full may have room again when the next request comes
                raise UserError(code=Code.NOT_WRITABLE, subject=self._folder / file, expected="room for an answer",
                                found=error.strerror or error) from None
        self._reporter.result(id=number, box=box, file=file, seconds=round(seconds, 2),
                              changes=[change.as_row() for change in correction.organs])


def _number_of(content: object) -> int:
    """Of a request that may be any JSON: whoever waits for its answer knows it by its number."""
    if isinstance(content, dict) and isinstance(content.get("id"), int):
        return int(content["id"])
    return 0


def raw_lines(descriptor: int) -> Iterator[str]:
    """The lines of a file descriptor, as they come; the last needs no end.

    Without a buffered stream, which a thread that waits in it locks: Python would abort on its way out.
    """
    pending = b""
    while data := os.read(descriptor, 1 << 16):
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")
    if pending.strip():
        yield pending.decode("utf-8", "replace")


def _bounds(box: Box3) -> list[int]:
    bounds: list[int] = []
    for part in box:
        bounds += [part.start, part.stop]
    return bounds
