"""Processes the cases of a batch one after the other in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence

from ..events import Reporter
from .cases import Case
from .processing import Batch, Explain, Outcome, Segment, process_case


def process_all(cases: Sequence[Case], batch: Batch, segment: Segment, explain: Explain,
                reporter: Reporter) -> Generator[Outcome]:
    """Outcomes as they come.

    Cases that another process is working on come last: either they are finished by then, or that process has ended
    and they are ours to do.
    """
    locked_elsewhere = []
    with contextlib.closing(segment):
        for case in cases:
            outcome = process_case(case, batch, segment, explain, reporter)
            if outcome is None:
                locked_elsewhere.append(case)
            else:
                yield outcome
        for case in locked_elsewhere:
            outcome = process_case(case, batch, segment, explain, reporter, wait=True)
            assert outcome is not None
            yield outcome
