"""Works off the cases of a batch in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..events import Reporter
from .cases import Case
from .work import Batch, Explain, Outcome, Segment, attend


def attend_all(cases: Sequence[Case], batch: Batch, segment: Segment, explain: Explain,
               reporter: Reporter) -> Iterator[Outcome]:
    """Outcomes as they come. Cases that another process is at come last: finished by then, or left to us after all."""
    elsewhere = []
    for case in cases:
        outcome = attend(case, batch, segment, explain, reporter)
        if outcome is None:
            elsewhere.append(case)
        else:
            yield outcome
    for case in elsewhere:
        outcome = attend(case, batch, segment, explain, reporter, wait=True)
        assert outcome is not None
        yield outcome
