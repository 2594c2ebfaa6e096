"""One case of a batch from its claim to its record: skipped if finished, else segmented, measured and recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.dicom_export import ENDINGS
from ..models.checksums import sha256
from .cases import Case
from .claims import Claim, claimed
from .measuring import measured
from .records import DONE, FAILED, Record, fingerprint, read_record, record_file, write_record
from .run_table import checks_of


class Appearing(Protocol):
    """Told of a case's files by kind, still hidden, and its organs' rows, right before the files take their place."""

    def __call__(self, files: Mapping[str, Path], rows: list[dict]) -> None: ...


class Segment(Protocol):
    """Segments a case into a folder; returns a row an organ. Raises anything. `alone`: surely nobody else is at it."""

    def __call__(self, case: Case, folder: Path, reporter: Reporter, appearing: Appearing,
                 alone: bool) -> list[dict]: ...

    def prepare(self) -> None:
        """Gets ready, once. What it raises concerns no single case."""


class Explain(Protocol):
    """What stopped a case."""

    def __call__(self, error: Exception, case: Case) -> Problem: ...


@dataclass(frozen=True)
class Batch:
    """What every case of a run has in common. `settings` (JSON) and `model` (SHA-256) decide what is made anew.

    `overwrite` also replaces results that are not ours or were changed since. `resume` skips what is finished and
    replaces what is ours; without it every earlier result is refused, and made anew with `overwrite`.
    """

    output: Path
    model: str
    settings: dict[str, Any]
    preview: bool
    overwrite: bool
    resume: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of a case. `skipped`: it was finished before. `rows`: an organ each, of a case just segmented.

    `problem` is what stopped it, whose text is the record's `error`.
    """

    case: Case
    record: Record
    skipped: bool = False
    rows: list[dict] = field(default_factory=list)
    warnings: list[str | Problem] = field(default_factory=list)
    problem: Problem | None = None


def attend(case: Case, batch: Batch, segment: Segment, explain: Explain, reporter: Reporter,
           wait: bool = False) -> Outcome | None:
    """Sees that a case is done; None when another process is at it, unless told to `wait` for that to end.

    What goes wrong with the case is in the outcome's record. Raises UserError when no record can be written, and what
    `segment.prepare` raises.
    """
    with claimed(record_file(batch.output, case.title).with_suffix(".lock"), wait) as claim:
        return _attend(case, batch, segment, explain, reporter, claim is Claim.ALONE) if claim else None


def _attend(case: Case, batch: Batch, segment: Segment, explain: Explain, reporter: Reporter, alone: bool) -> Outcome:
    path = record_file(batch.output, case.title)
    before = read_record(path)
    folder = batch.output / case.place
    every_kind = replace(case, dicom=tuple(ENDINGS)).outputs(folder, preview=True).values()
    ours = before.ours if before else _older_than(path, every_kind)
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

        def failed(error: Exception, recorded: bool = True) -> Outcome:
            ours.update(*(record.ours for record in written))
            problem = explain(error, case)
            record = Record(**facts(), state=FAILED, error=problem.text())
            if recorded:
                write_record(batch.output, record)
            return Outcome(case, record, problem=problem)

        if not (batch.resume or batch.overwrite) and (earlier := next(filter(Path.exists, files), None)):
            error = UserError(code=Code.FILE_EXISTS, subject=earlier, expected="no such file yet",
                              found="an earlier result",
                              hint="--resume keeps what is finished, --overwrite replaces it")
            return failed(error, recorded=False)  # it stays as it was
        try:
            made_from |= {"ct": fingerprint(case.path), "series": case.series, "model": batch.model,
                          "settings": batch.settings}
            if batch.resume and before and before.finished(made_from, files):
                return Outcome(case, before, skipped=True)
            if not batch.overwrite:
                _refuse_foreign(files, ours)
            folder.mkdir(parents=True, exist_ok=True)
        except Exception as error:
            return failed(error)
        segment.prepare()
        try:
            rows = segment(case, folder, reporter, appearing, alone)
            for file in every_kind:  # of a run that made more kinds
                if file not in files and file.is_file() and sha256(file) in ours:
                    file.unlink()
            return Outcome(case, written[0], rows=rows)
        except Exception as error:
            return failed(error)


def _older_than(record: Path, files: Iterable[Path]) -> set[str]:
    """SHA-256 of the results that are not newer than a record which cannot be read: nobody has changed them since."""
    if not record.is_file():
        return set()
    written = record.stat().st_mtime_ns
    return {sha256(file) for file in files if file.is_file() and file.stat().st_mtime_ns <= written}


def _refuse_foreign(files: list[Path], ours: set[str]) -> None:
    """Raises UserError for a file that somebody else wrote, or changed since we did."""
    for file in files:
        if file.exists() and sha256(file) not in ours:
            found = "one that was changed since it was written" if ours else "a result that is not recorded"
            raise UserError(code=Code.FILE_EXISTS, subject=file, expected="no file or our own", found=found,
                            hint="--overwrite replaces it")
