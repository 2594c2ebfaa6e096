"""Processes the cases of a batch on this computer several at a time, each in a process of its own.

A thread for each process takes one case after the other, from its lock to its record, and has it segmented there. A
case that failed for want of memory, or whose process died, may have lacked what the others took: it comes last, alone,
and so do cases that another run is working on.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, replace

from ..errors import Code, Problem, UserError
from ..events import CollectedWarnings, Reporter
from . import local
from .apart import CaseSegmenterApart
from .cases import Case
from .processing import Batch, Explain, Outcome, process_case

POLL_S = 0.1
TELL_EVERY_S = 5.0  # how far the run is, while no case ends


class Cases:
    """Those that are not begun yet, shared out among threads, and how many cores each may use."""

    def __init__(self, cases: Sequence[Case], processes: int, cores: int) -> None:
        self._waiting, self._processes, self._cores = deque(cases), processes, cores
        self._begun = 0
        self._lock = threading.Lock()

    def begin(self) -> tuple[Case, int] | None:
        """The next case and its threads: a share of the cores, larger where fewer cases are left than processes."""
        with self._lock:
            if not self._waiting:
                return None
            case = self._waiting.popleft()
            self._begun += 1
            at_work = min(self._processes, self._begun + len(self._waiting))
            return case, math.ceil(self._cores / at_work)

    def end(self) -> None:
        """A case that was begun is done."""
        with self._lock:
            self._begun -= 1

    def take_all(self) -> list[Case]:
        """Those that nobody has begun; there is no next one any more."""
        with self._lock:
            cases = list(self._waiting)
            self._waiting.clear()
            return cases


@dataclass(frozen=True)
class _Answer:
    """What became of a case; None where it comes last."""

    case: Case
    outcome: Outcome | None


@dataclass(frozen=True)
class _End:
    """A thread's: `error` broke it off at `case`."""

    case: Case | None = None
    error: BaseException | None = None


def process_all(cases: Sequence[Case], batch: Batch, segments: Sequence[CaseSegmenterApart], alone: CaseSegmenterApart,
                explain: Explain, cores: int, tried_again: Collection[Code], reporter: Reporter) -> Generator[Outcome]:
    """Outcomes as they come, with their warnings. All `cores` are shared by the `segments`, one for each process;
    `alone` has what comes last, as does a case whose problem is among those `tried_again`.

    Raises UserError for what concerns every case.
    """
    work, answers = Cases(cases, len(segments), cores), queue.SimpleQueue[_Answer | _End]()
    threads = [threading.Thread(target=_drive, args=(segment, work, batch, explain, tried_again, answers))
               for segment in segments]
    last: list[Case] = []
    told: set[Problem] = set()
    try:
        for thread in threads:
            thread.start()
        for answer in _answers(answers, len(threads), len(cases), reporter):
            if isinstance(answer, _End):
                last += _left_by(answer, reporter)
            elif answer.outcome is None:
                last.append(answer.case)
            else:
                yield _without_told(answer.outcome, told)
    finally:
        last += work.take_all()
        for segment in segments:
            segment.stop()
        for thread in threads:
            if thread.ident is not None:  # it was started
                thread.join()
    if last:
        yield from local.process_all(last, batch, alone, explain, reporter)


def _drive(segment: CaseSegmenterApart, work: Cases, batch: Batch, explain: Explain, tried_again: Collection[Code],
           answers: queue.SimpleQueue[_Answer | _End]) -> None:
    """Has one case after the other segmented, until none is left or something ends that."""
    case, end = None, _End()
    try:
        while (task := work.begin()) is not None:
            case, segment.threads = task
            warnings = CollectedWarnings()
            outcome = process_case(case, batch, segment, explain, warnings)
            work.end()
            if outcome is None or (outcome.problem is not None and outcome.problem.code in tried_again):
                answers.put(_Answer(case, None))
            else:
                answers.put(_Answer(case, replace(outcome, warnings=warnings.warnings)))
    except BaseException as error:  # of every kind: the main thread is where it belongs
        end = _End(case, error)
    finally:
        segment.close()
        answers.put(end)


def _answers(answers: queue.SimpleQueue[_Answer | _End], threads: int, total: int,
             reporter: Reporter) -> Generator[_Answer | _End]:
    """Every answer until all threads have ended; how far the run is is told at first and once in a while."""
    done, told = 0, -math.inf
    while threads:
        if time.monotonic() - told > TELL_EVERY_S:
            reporter.progress("cases", done, total)
            told = time.monotonic()
        try:
            # Looked at again and again, as nothing else lets a signal through on Windows.
            answer = answers.get(timeout=POLL_S)
        except queue.Empty:
            continue
        if isinstance(answer, _End):
            threads -= 1
        elif answer.outcome is not None:
            done, told = done + 1, time.monotonic()
        yield answer


def _left_by(end: _End, reporter: Reporter) -> list[Case]:
    """The case that a thread left when no process could be started for it. Raises what else broke it off."""
    if end.error is None:
        return []
    if not isinstance(end.error, UserError) or end.error.problem.code is not Code.WORKER_DIED:
        raise end.error
    assert end.case is not None
    reporter.warning(replace(end.error.problem, hint="the others go on"))
    return [end.case]


def _without_told(outcome: Outcome, told: set[Problem]) -> Outcome:
    """Each process says once that its model is slow; who reads them all need not see that again."""
    warnings = []
    for warning in outcome.warnings:
        if isinstance(warning, Problem) and warning.code is Code.SETTING_SLOW:
            if warning in told:
                continue
            told.add(warning)
        warnings.append(warning)
    return replace(outcome, warnings=warnings)
