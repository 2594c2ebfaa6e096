"""Messages between a run and the process that segments its cases arrive as they were sent."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from PartialOrganSegLib.batch.cases import Case
from PartialOrganSegLib.batch.messages import (
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
from PartialOrganSegLib.errors import Code, Problem, Severity
from PartialOrganSegLib.segmenting.options import SegmentOptions

# A name in bytes that are no UTF-8, as Linux allows it.
ODD = Path(os.fsdecode(b"ct \xff\n.nii.gz"))
PROBLEM = Problem(Code.WORKER_DIED, "a, b", "more", "less", "try\nagain", Severity.WARNING, {"values": [1, 2.5]})
MESSAGES = [
    Start(SegmentOptions(model=(Path("a"), "b"), organs="liver,spleen", scales=(1.0, 1.2)), Path("log ü")),
    Task(Case(ODD, "ct", "2", "place", ("seg", "rtstruct")), {"labelmap": ODD}),
    Ready(7, "cpu", 3 << 30), Progress("forward", 1, 3), Warned("plain"), Warned(PROBLEM), Failed(PROBLEM),
    Written([{"organ": "liver", "ml": 1.5, "checks": ["small"], "entropy": None}], PROBLEM),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(message: object) -> None:
    pipe = io.BytesIO()
    write_message(message, pipe)
    # A second message behind it: the first must end where it ends.
    write_message(Ready(7, "cpu", 3 << 30), pipe)
    pipe.seek(0)
    assert read_message(pipe) == message
    assert read_message(pipe) == Ready(7, "cpu", 3 << 30)
    with pytest.raises(EOFError):
        read_message(pipe)


def test_half_a_message_is_none() -> None:
    pipe = io.BytesIO()
    write_message(Progress("forward", 1, 3), pipe)
    with pytest.raises(EOFError):
        read_message(io.BytesIO(pipe.getvalue()[:-3]))
