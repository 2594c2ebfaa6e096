"""The process in which `CaseSegmenterApart` has cases segmented: `python -m PartialOrganSegLib.batch.case_process`.

Tasks come through stdin, answers go through stdout; whatever libraries print goes to stderr. It ends with the
process that started it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import warnings
from typing import BinaryIO

from .. import logfile
from ..cancelling import ignore_signals
from ..errors import Problem, UserError
from ..events import Reporter
from ..process_settings import collect_garbage_less_often, give_back_large_blocks
from ..segmenting.segmenter import Segmenter
from .case_segmenter import write_all_but_dicom
from .messages import Answer, Failed, Progress, Ready, Start, Task, Warned, Written, read_message, write_message


class _Answers(Reporter):
    """Sends answers; as a reporter, progress and warnings."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe

    def send(self, answer: Answer) -> None:
        write_message(answer, self._pipe)

    def progress(self, stage: str, done: int, total: int) -> None:
        self.send(Progress(stage, done, total))

    def warning(self, message: str | Problem) -> None:
        self.send(Warned(message))


def main() -> None:
    """Segments what comes until nobody asks any more."""
    ignore_signals()  # a cancelled run ends this process itself
    collect_garbage_less_often()
    give_back_large_blocks()
    _leave_to_the_run()
    answers = _Answers(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    start: Start = read_message(sys.stdin.buffer)
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, tasks), daemon=True).start()
    try:
        segmenter = Segmenter(start.options)
        segmenter.prepare()
    except Exception as error:
        answers.send(Failed(_problem_of_start(error, start)))
        return
    answers.send(_ready(segmenter))
    while True:
        _segment(segmenter, tasks.get(), start, answers)


def _ready(segmenter: Segmenter) -> Ready:
    from ..segmenting.memory import LARGE_CT, estimate_memory

    return Ready(os.getpid(), segmenter.predictor.device.type, estimate_memory(LARGE_CT, segmenter.bundle))


def _leave_to_the_run() -> None:
    """Lets the run alone warn of former names, once, and nobody of headers, as in a run without this process."""
    warnings.filterwarnings("ignore", "(?s).*found its former", FutureWarning)
    warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)\b")


def _segment(segmenter: Segmenter, task: Task, start: Start, answers: _Answers) -> None:
    from ..segmenting.threads import threads

    try:
        with contextlib.nullcontext() if task.threads is None else threads(task.threads):
            result = segmenter(task.case.path, series=task.case.series, reporter=answers)
        not_written = write_all_but_dicom(result, task.files)
        answers.send(Written(result.organ_events, not_written))
    except Exception as error:
        answers.send(Failed(logfile.explain_case(error, task.case.path, start.log)))


def _problem_of_start(error: Exception, start: Start) -> Problem:
    if isinstance(error, UserError):
        return error.problem
    return logfile.explain_command(error, start.log)


def _receive(pipe: BinaryIO, tasks: queue.SimpleQueue[Task]) -> None:
    """Fetches tasks; the process ends when the other side has, whatever it is doing."""
    try:
        while True:
            tasks.put(read_message(pipe))
    except (EOFError, OSError):
        os._exit(1)


if __name__ == "__main__":
    main()
