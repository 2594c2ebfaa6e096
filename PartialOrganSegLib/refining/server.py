"""A session for another program: one JSON object a line comes in, one event a line goes out, changed voxels as files.

Messages: `{"do": "add", "id": 7, "strokes": ...}` with a file's path or the content of a stroke file, `undo`, `cancel`,
`accept` with `organs`, `save`, `end`. Each is answered by a `result` or an `error` that repeats `do` and `id`; `cancel`
ends what is being worked on and what waits, and each of these is answered by an error of code "cancelled".
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import Code, Problem, UserError, brief, did_you_mean
from ..events import Reporter
from ..formats.strokes import Strokes, strokes_of
from ..formats.writing import write_labelmap
from ..imaging.shapes import Box3
from ..imaging.volume import Grid, Volume
from ..json_file import LARGEST_FILE, MIB, parse_json
from ..outputs import writable_folder
from ..segmenting.options import in_label_order
from .refiner import OpenedCT
from .session import Correction, RefineCancelled

ACTIONS = ("add", "undo", "accept", "save", "cancel", "end")
KEPT_REGIONS = 2  # files of changed voxels; a program that is slower than a person draws asks for `save`
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Message:
    """What shall be done, and whose answer that is to be. `stop` ends the work on it."""

    do: str
    facts: dict[str, object]
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> dict[str, object]:
        """What every answer repeats."""
        return {"do": self.do, "id": self.facts.get("id")}


class RefineServer:
    """Works off the messages of one stream, in their order; a cancellation overtakes."""

    def __init__(self, opened: OpenedCT, folder: Path, name: str, reporter: Reporter) -> None:
        """Files go to `folder`, their names begin with `name`. Raises UserError where nothing can be written."""
        self._opened, self._session, self._reporter = opened, opened.session, reporter
        self._folder, self._name = writable_folder(folder), name
        self._messages: queue.Queue[Message] = queue.Queue()
        self._open_messages: list[Message] = []  # not answered yet
        self._lock = threading.Lock()
        self._regions: list[Path] = []
        self._answers = 0
        self._actions: dict[str, Callable[[Message], None]] = {
            "add": self._add, "undo": self._undo, "accept": self._accept, "save": self._save}

    def run(self, stream: int = 0) -> None:
        """Reads from a file descriptor until its end or the message `end`."""
        threading.Thread(target=self._receive, args=(stream,), daemon=True).start()
        self._reporter.result(do="open", id=None, organs=list(self._session.label_space.names), corrections=0)
        try:
            while True:
                message = self._messages.get()
                if message.do == "end":
                    break
                self._work_on(message)
        finally:
            for path in self._regions:
                path.unlink(missing_ok=True)
        self._reporter.result(**message.address)

    def _work_on(self, message: Message) -> None:
        try:
            if message.stop.is_set():
                raise RefineCancelled
            self._actions[message.do](message)
        except RefineCancelled:
            self._refuse(Problem(Code.CANCELLED, found="cancelled"), message.address)
        except UserError as error:
            self._refuse(error.problem, message.address)
        finally:
            with self._lock:
                self._open_messages.remove(message)

    def _refuse(self, problem: Problem, address: dict[str, object]) -> None:
        self._reporter.error(replace(problem, data={**problem.data, **address}))

    # What is asked for.

    def _add(self, message: Message) -> None:
        since = time.perf_counter()
        strokes = message.facts.get("strokes")
        source: Strokes | str = strokes if isinstance(strokes, str) else strokes_of(strokes, "strokes")
        correction = self._session.add(source, message.stop)
        self._report(message, correction, time.perf_counter() - since)

    def _undo(self, message: Message) -> None:
        since = time.perf_counter()
        self._report(message, self._session.undo(), time.perf_counter() - since)

    def _accept(self, message: Message) -> None:
        organs = message.facts.get("organs")
        if not isinstance(organs, list) or not all(isinstance(name, str) for name in organs):
            raise UserError(code=Code.VALUE_UNFIT, subject="organs", expected="a list of names", found=brief(organs))
        accepted = in_label_order(organs, self._session.label_space)
        self._session.accept(accepted)
        self._reporter.result(**message.address, organs=accepted)

    def _save(self, message: Message) -> None:
        result = self._opened.result(self._session.change_since_start())
        files = result.save(self._folder, name=self._name, overwrite=True)
        self._reporter.result(**message.address, files=files, corrections=self._session.corrections,
                              changes=[change.as_row() for change in result.changes])

    def _report(self, message: Message, correction: Correction, seconds: float) -> None:
        region, file = None, None
        if correction.region is not None:
            z, y, x = correction.region
            region = {"start": [x.start, y.start, z.start],
                      "size": [part.stop - part.start for part in (x, y, z)]}
            file = self._write_region(correction.labels, correction.region)
        self._reporter.result(**message.address, labels=file, region=region, seconds=round(seconds, 3),
                              corrections=self._session.corrections,
                              changes=[change.as_row() for change in correction.organs])

    def _write_region(self, labels: Volume, box: Box3) -> Path:
        """The labels of a box, on a grid of their own at the same place in the patient."""
        self._answers += 1
        path = self._folder / f"{self._name}.region{self._answers}.nrrd"
        z, y, x = box
        grid = labels.grid
        origin_x, origin_y, origin_z = (grid.matrix @ [x.start, y.start, z.start, 1])[:3].tolist()
        part = np.ascontiguousarray(labels.array[box])
        depth, height, width = part.shape
        write_labelmap(path, Volume(part, Grid((width, height, depth), grid.spacing, (origin_x, origin_y, origin_z),
                                               grid.direction)))
        self._regions.append(path)
        while len(self._regions) > KEPT_REGIONS:
            self._regions.pop(0).unlink(missing_ok=True)
        return path

    # What comes in, in a thread of its own.

    def _receive(self, stream: int) -> None:
        for line in _lines(stream):
            try:
                message = _message(line)
            except UserError as error:
                self._refuse(error.problem, {"do": None, "id": None})
                continue
            if message.do == "cancel":
                with self._lock:
                    waiting = list(self._open_messages)
                    for other in waiting:
                        other.stop.set()
                self._reporter.result(**message.address, cancelled=len(waiting))
                continue
            self._put(message)
        self._put(Message("end", {}))

    def _put(self, message: Message) -> None:
        with self._lock:
            self._open_messages.append(message)
        self._messages.put(message)


def _lines(stream: int) -> Iterator[bytes]:
    """Lines of a file descriptor; the last one counts where its end is missing. Ends where one is far too long."""
    # os.read, as a thread that waits inside a buffered reader makes Python abort on its way out.
    unfinished = b""
    while len(unfinished) <= LARGEST_FILE:
        chunk = os.read(stream, _CHUNK)
        if not chunk:
            break
        *lines, unfinished = (unfinished + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())
    if unfinished.strip() and len(unfinished) <= LARGEST_FILE:
        yield unfinished


def _message(line: bytes) -> Message:
    if len(line) > LARGEST_FILE:
        raise UserError(code=Code.TOO_LARGE, subject="message", expected=f"at most {LARGEST_FILE // MIB} MiB",
                        found=f"{len(line) // MIB} MiB")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(code=Code.WRONG_FORMAT, subject="message", expected="a line of JSON",
                        found=f"bytes that are no UTF-8 (at {error.start})") from None
    content = parse_json(text, "message", "a line of JSON")
    if not isinstance(content, dict):
        raise UserError(code=Code.WRONG_FORMAT, subject="message", expected="an object with 'do'", found=brief(content))
    do = content.get("do")
    if do not in ACTIONS:
        raise UserError(code=Code.VALUE_UNFIT, subject="message: do", expected=f"one of {', '.join(ACTIONS)}",
                        found=brief(do), hint=did_you_mean(do, ACTIONS))
    return Message(do, content)
