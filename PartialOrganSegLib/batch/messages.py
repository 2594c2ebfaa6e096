"""What a run and the process that segments its cases say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import Problem
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
    """To the process: a case, and where each kind of its results goes."""

    case: Case
    files: dict[str, Path]


@dataclass(frozen=True)
class Ready:
    """The network is loaded."""


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
