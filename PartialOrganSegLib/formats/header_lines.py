"""The text at the beginning of NRRD and MetaImage files, read without trusting its length."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from ..errors import Code, UserError

LONGEST_LINE = 1 << 16  # bytes; NRRD's own reader faults on lines of megabytes
LONGEST_HEADER = 8 << 20  # a segmentation of 3D Slicer with some hundred segments has a tenth of that
LONGEST_WORD = 128
_SHOWN = 60  # letters of a value that a message repeats


def header_lines(path: Path, stream: BinaryIO) -> Iterator[str]:
    """The lines of a text header, without their ends, one after the other until the caller has enough.

    Raises UserError for a line or a header that is longer than any program writes.
    """
    total = 0
    while line := stream.readline(LONGEST_LINE):
        total += len(line)
        if len(line) >= LONGEST_LINE or total > LONGEST_HEADER:
            raise UserError(code=Code.FILE_DAMAGED, subject=path,
                            expected=f"header lines of at most {LONGEST_LINE} bytes, {LONGEST_HEADER} in all",
                            found="longer ones")
        yield line.decode("utf-8", "replace").rstrip("\r\n")


def shown(value: str) -> str:
    """A value of a header as a message repeats it: quoted, and never long."""
    if len(value) > _SHOWN:
        value = value[:_SHOWN] + "..."
    return f"'{value}'"


def check_words(path: Path, fields: Mapping[str, str], free: Collection[str]) -> None:
    """Raises UserError for a word of a field that no number or name is as long as: readers have buffers of fixed size
    for them. `free`: fields of free text."""
    for name, value in fields.items():
        longest = max(map(len, re.split(r"[\s,()]+", value)), default=0)
        if name not in free and longest > LONGEST_WORD:
            raise UserError(code=Code.FILE_DAMAGED, subject=f"{path}: {name:.60}",
                            expected=f"numbers and names of at most {LONGEST_WORD} letters", found=shown(value))


def whole_numbers(path: Path, field: str, value: str, count: int, minimum: int = 1) -> list[int]:
    """`count` whole numbers of a header's field, each at least `minimum`. Raises UserError naming file and field."""
    words = value.split()
    numbers = [int(word) for word in words if len(word) < 16 and word.lstrip("-").isdecimal()]
    if len(numbers) != len(words) or len(words) != count or any(number < minimum for number in numbers):
        raise UserError(code=Code.FILE_DAMAGED, subject=f"{path}: {field}",
                        expected=f"{count} whole numbers of at least {minimum}", found=shown(value))
    return numbers
