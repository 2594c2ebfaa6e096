"""The candidate sets of a cached case, and checksums of the arrays that lie beside them.

A power failure may leave a file of the right length with zeros in it, which no header shows.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..atomic import whole_file

Arrays = Sequence[npt.NDArray[np.generic]]


def write_sets(file: Path, sets: Sequence[Sequence[int]], arrays: Arrays) -> None:
    """Writes the sets with the CRC-32 of each array. Raises OSError."""
    with whole_file(file) as temporary:
        temporary.write_text(json.dumps({"sets": [list(classes) for classes in sets], "crc32": _checksums(arrays)}))


def read_sets(file: Path) -> list[list[int]]:
    """The sets. Raises OSError, ValueError and RecursionError for a file that holds none."""
    return _parsed(file)[0]


def read_checked(file: Path, arrays: Arrays, class_count: int) -> list[list[int]]:
    """The sets, where these are the arrays that they were written with and no class is beyond `class_count`.

    Raises ValueError where it is otherwise, and as `read_sets`. Files up to 0.5.0 have no checksums.
    """
    sets, checksums = _parsed(file)
    if checksums is not None and checksums != _checksums(arrays):
        raise ValueError("other arrays than were cached")
    if any(not 0 <= number < class_count for classes in sets for number in classes):
        raise ValueError("classes that there are not")
    return sets


def _parsed(file: Path) -> tuple[list[list[int]], list[int] | None]:
    written: object = json.loads(file.read_text(encoding="utf-8"))
    content, checksums = written, None
    if isinstance(written, dict):
        content, checksums = written.get("sets"), written.get("crc32")
        if not isinstance(checksums, list):
            raise ValueError("no checksums")
    if not isinstance(content, list):
        raise ValueError("no list of sets")
    for classes in content:
        if not isinstance(classes, list) or not all(isinstance(number, int) for number in classes):
            raise ValueError("something else than sets of classes")
    return content, checksums


def _checksums(arrays: Arrays) -> list[int]:
    return [zlib.crc32(np.ascontiguousarray(array).data) for array in arrays]
