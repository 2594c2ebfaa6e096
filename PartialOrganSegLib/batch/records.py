"""The record of a case's results: written before they appear, compared with them before they count as finished.

A record names the results by their SHA-256 and what they were made from: the CT's content, the model's checksum and the
settings. It is written just before the results take their place, so a case is finished only if every result exists as
recorded; however a run ends, half a case never counts.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .. import __version__
from ..atomic import whole_file
from ..errors import Code, UserError
from ..models.checksums import sha256

FOLDER = "records"
DONE, FAILED = "done", "failed"

_LONGEST_NAME = 200  # bytes; file systems take 255, and a record's file has an ending
_NAME_START = 30  # letters of a longer name that its record's file still has

OrganRow = dict[str, object]  # an organ's row as a JSON event has it


@dataclass(frozen=True)
class Record:
    """One case. `made_from` is what its results depend on; `outputs` maps their file names to SHA-256.

    `replaced` holds the SHA-256 of earlier results that these replace: until all are replaced, a file that has one of
    these checksums is ours as well. `written` is local time with its offset; `host` the computer's name.
    """

    case: str
    input: str
    state: str
    made_from: dict[str, object]
    outputs: dict[str, str] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak_mib: int = 0
    checks: str = ""
    error: str = ""
    host: str = field(default_factory=platform.node)
    written: str = field(default_factory=lambda: f"{datetime.datetime.now().astimezone():%Y-%m-%dT%H:%M:%S%z}")
    version: str = __version__

    def finished(self, made_from: Mapping[str, object], files: Iterable[Path]) -> bool:
        """Whether these files were made from this and are still as they were written."""
        return self.state == DONE and self.made_from == made_from and all(
            os.path.isfile(file) and sha256(file) == self.outputs.get(file.name) for file in files)

    @property
    def our_checksums(self) -> set[str]:
        """SHA-256 of every result of ours that may lie in the output folder."""
        return {*self.outputs.values(), *self.replaced}


def record_file(output: Path, case: str) -> Path:
    """Where the record of a case is kept: under its title, or a checksum of a name that no file can have."""
    # Cut short, so that it can be found by eye, and with a checksum, so that it is like no other's.
    place, slash, name = case.rpartition("/")
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) > _LONGEST_NAME or "\0" in name:
        name = f"{name[:_NAME_START]}-{hashlib.sha256(encoded).hexdigest()[:16]}".replace("\0", "")
    return output / FOLDER / f"{place}{slash}{name}.json"


def write_record(output: Path, record: Record) -> None:
    """Writes a record whole. Raises UserError."""
    path = record_file(output, record.case)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            temporary.write_text(_text_of(record) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(code=Code.NOT_WRITABLE, subject=path,
                        found=f"could not be written: {error.strerror or error}",
                        hint="what is finished stays so: go on with --resume") from error


def read_record(path: Path) -> Record | None:
    """The record in a file; None if there is no file or it cannot be understood, so that its case is made anew."""
    try:
        record = Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return record if _has_right_types(record) else None


def _text_of(record: Record) -> str:
    """JSON in which names can be read, unless one has bytes that are no UTF-8: then all of it is ASCII."""
    text = json.dumps(asdict(record), indent=1, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(asdict(record), indent=1)
    return text


def _has_right_types(record: Record) -> bool:
    """Whether every field of a record from a file is of its type: files may be damaged, or somebody's own work."""
    texts = (record.case, record.input, record.state, record.checks, record.error, record.host, record.written,
             record.version)
    if not all(isinstance(text, str) for text in texts):
        return False
    if not isinstance(record.made_from, dict) or not isinstance(record.outputs, dict):
        return False
    if not isinstance(record.replaced, list):
        return False
    checksums = (*record.outputs.values(), *record.replaced)
    numbers = (record.seconds, record.peak_mib)
    return all(isinstance(checksum, str) for checksum in checksums) and all(
        isinstance(number, (int, float)) for number in numbers)
