"""What a run and the process that segments its cases say to each other, a line of JSON each."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import Code, Problem, Severity
from ..segmenting.options import SegmentOptions
from .cases import Case
from .records import OrganRow


@dataclass(frozen=True)
class Start:
    """To the process, once: what it works with. Tracebacks go to `log`."""

    options: SegmentOptions
    log: Path


@dataclass(frozen=True)
class Task:
    """To the process: a case, where each kind of its results goes, and how many threads may work on it at most
    (None: as many as PyTorch takes)."""

    case: Case
    files: dict[str, Path]
    threads: int | None = None


@dataclass(frozen=True)
class Ready:
    """The network is loaded, by the process with this number, on a device such as "cpu". Segmenting a large CT takes at
    most so many bytes of memory."""

    process_id: int
    device: str
    memory: int


@dataclass(frozen=True)
class Progress:
    """Passed on to the run's reporter."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class Warned:
    """Passed on to the run's reporter."""

    warning: str | Problem


@dataclass(frozen=True)
class Written:
    """The case's files are there, but for DICOM files that `not_written` is about; a row for each organ."""

    rows: list[OrganRow]
    not_written: Problem | None = None


@dataclass(frozen=True)
class Failed:
    """What stopped the case, or the start."""

    problem: Problem


@dataclass(frozen=True)
class Ended:
    """Nothing more comes: the process is gone."""


ENDED = Ended()
Answer = Ready | Progress | Warned | Written | Failed | Ended
_CLASSES: dict[str, type] = {kind.__name__: kind for kind in (
    Start, Task, Ready, Progress, Warned, Written, Failed, Case, Problem, SegmentOptions)}
_CODES = {str(code): code for code in Code}
_KIND, _PATH, _TUPLE = "<kind>", "<path>", "<tuple>"  # keys that no organ and no problem has


def write_message(message: Start | Task | Answer, pipe: IO[bytes]) -> None:
    """Sends it. Raises OSError when the other side is gone."""
    # ASCII alone: names in bytes that are no UTF-8 come as surrogates, which JSON escapes.
    pipe.write(json.dumps(_plain(message)).encode("ascii") + b"\n")
    pipe.flush()


def read_message(pipe: IO[bytes]) -> Any:
    """The next one. Raises EOFError where none comes any more, be it in the middle of one, and OSError."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return json.loads(line, object_hook=_object)


def _plain(value: object) -> object:
    """The value in dicts, lists, texts and numbers."""
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return {_KIND: type(value).__name__, **parts}
    if isinstance(value, Path):
        return {_PATH: str(value)}
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return {_TUPLE: [_plain(part) for part in value]}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value


def _object(content: dict[str, Any]) -> object:
    """What `_plain` made a dict of."""
    if _PATH in content:
        return Path(content[_PATH])
    if _TUPLE in content:
        return tuple(content[_TUPLE])
    if _KIND not in content:
        return content
    kind = _CLASSES[content.pop(_KIND)]
    if kind is Problem:
        content |= {"code": _CODES[content["code"]], "severity": Severity(content["severity"])}
    return kind(**content)
