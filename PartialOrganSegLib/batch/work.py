"""One case of a batch from its claim to its record: skipped if finished, else segmented, measured and recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..errors import UserError
from ..events import Reporter
from ..models.checksums import sha256
from .cases import Case
from .claims import claimed
from .measuring import measured
from .records import DONE, FAILED, Record, fingerprint, read_record, record_file, write_record
from .run_table import checks_of


class Appearing(Protocol):
    """Told of a case's files by kind, still hidden, and its organs' rows, right before the files take their place."""

    def __call__(self, files: Mapping[str, Path], rows: list[dict]) -> None: ...


class Segment(Protocol):
    """Segments a case into a folder; returns a row an organ. Raises anything."""

    def __call__(self, case: Case, folder: Path, reporter: Reporter, appearing: Appearing) -> list[dict]: ...

    def prepare(self) -> None:
        """Gets ready, once. What it raises concerns no single case."""


class Explain(Protocol):
    """The one line for what stopped a case."""

    def __call__(self, error: Exception, case: Case) -> str: ...


@dataclass(frozen=True)
class Batch:
    """What every case of a run has in common. `settings` (JSON) and `model` (SHA-256) decide what is made anew.

    `overwrite` also replaces results that are not ours or were changed since.
    """

    output: Path
    model: str
    settings: dict[str, Any]
    preview: bool
    overwrite: bool


@dataclass(frozen=True)
class Outcome:
    """What became of a case. `skipped`: it was finished before. `rows`: an organ each, of a case just segmented."""

    case: Case
    record: Record
    skipped: bool = False
    rows: list[dict] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def attend(case: Case, batch: Batch, segment: Segment, explain: Explain, reporter: Reporter,
           wait: bool = False) -> Outcome | None:
    """Sees that a case is done; None when another process is at it, unless told to `wait` for that to end.

    What goes wrong with the case is in the outcome's record. Raises UserError when no record can be written, and what
    `segment.prepare` raises.
    """
    with claimed(record_file(batch.output, case.title).with_suffix(".lock"), wait) as mine:
        return _attend(case, batch, segment, explain, reporter) if mine else None


def _attend(case: Case, batch: Batch, segment: Segment, explain: Explain, reporter: Reporter) -> Outcome:
    before = read_record(record_file(batch.output, case.title))
    ours = before.ours if before else set()
    folder = batch.output / case.place
    files = list(case.outputs(folder, batch.preview).values())
    made_from: dict[str, Any] = {}
    written: list[Record] = []
    with measured() as figures:
        def facts() -> dict[str, Any]:
            return {"case": case.title, "input": str(case.path.absolute()), "made_from": made_from,
                    "replaced": sorted(ours), "seconds": figures.seconds, "peak_mib": figures.peak_mib}

        def appearing(hidden: Mapping[str, Path], rows: list[dict]) -> None:
            outputs = {path.name: sha256(path) for path in hidden.values()}
            written.append(Record(**facts(), state=DONE, outputs=outputs, checks=checks_of(rows)))
            write_record(batch.output, written[0])

        def failed(error: Exception) -> Outcome:
            ours.update(*(record.ours for record in written))
            record = Record(**facts(), state=FAILED, error=explain(error, case))
            write_record(batch.output, record)
            return Outcome(case, record)

        try:
            made_from |= {"ct": fingerprint(case.path), "series": case.series, "model": batch.model,
                          "settings": batch.settings}
            if before and before.finished(made_from, files):
                return Outcome(case, before, skipped=True)
            if not batch.overwrite:
                _refuse_foreign(files, ours)
            folder.mkdir(parents=True, exist_ok=True)
        except Exception as error:
            return failed(error)
        segment.prepare()
        try:
            rows = segment(case, folder, reporter, appearing)
            return Outcome(case, written[0], rows=rows)
        except Exception as error:
            return failed(error)


def _refuse_foreign(files: list[Path], ours: set[str]) -> None:
    """Raises UserError for a file that somebody else wrote, or changed since we did."""
    for file in files:
        if file.exists() and sha256(file) not in ours:
            found = "one that was changed since it was written" if ours else "a result that is not recorded"
            raise UserError(f"{file}: expected no file or our own, found {found}; --overwrite replaces it")
