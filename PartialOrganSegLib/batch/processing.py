"""One case of a batch from its lock to its record: skipped if finished, else segmented, measured and recorded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.dicom_export import ENDINGS
from ..models.checksums import sha256
from ..outputs import finish_leftovers
from .cases import Case
from .fingerprint import fingerprint
from .locks import CaseLock, case_lock
from .measuring import Usage, measuring
from .records import DONE, FAILED, OrganRow, Record, read_record, record_file, write_record
from .run_table import checks_of

LONGEST_FILE_NAME = 255  # bytes, of nearly every file system


class OnFilesWritten(Protocol):
    """Called with a case's files by kind, still hidden, and its organs' rows, right before the files appear."""

    def __call__(self, files: Mapping[str, Path], rows: list[OrganRow], /) -> None: ...


class Segment(Protocol):
    """Segments a case into a folder; returns a row for each organ. May raise anything."""

    def __call__(self, case: Case, folder: Path, reporter: Reporter, on_files_written: OnFilesWritten,
                 /) -> list[OrganRow]: ...

    def prepare(self) -> None:
        """Gets ready, once. What it raises concerns every case."""

    def process_id(self) -> int:
        """The process that does the work at this moment, whose memory is measured."""

    def close(self) -> None:
        """Lets go of what `prepare` got."""


class Explain(Protocol):
    """The problem that stopped a case."""

    def __call__(self, error: Exception, case: Case, /) -> Problem: ...


@dataclass(frozen=True)
class Batch:
    """What every case of a run has in common. `settings` (JSON) and `model` (SHA-256) decide what is made anew.

    `overwrite` also replaces results that are not ours or were changed since. `resume` skips what is finished and
    replaces what is ours; without it every earlier result is refused, and made anew with `overwrite`.
    """

    output: Path
    model: str
    settings: Mapping[str, object]
    preview: bool
    overwrite: bool
    resume: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    `skipped`: it was finished before. `rows`: a row for each organ of a case that was just segmented. `problem` is
    what stopped the case; its text is the record's `error`.
    """

    case: Case
    record: Record
    skipped: bool = False
    rows: list[OrganRow] = field(default_factory=list)
    warnings: list[str | Problem] = field(default_factory=list)
    problem: Problem | None = None


def process_case(case: Case, batch: Batch, segment: Segment, explain: Explain, reporter: Reporter,
                 wait: bool = False) -> Outcome | None:
    """Makes sure that a case is done. None when another process is working on it, unless `wait` waits for that to end.

    What goes wrong with the case is in the outcome's record. Raises UserError when no record can be written, and what
    `segment.prepare` raises.
    """
    with case_lock(record_file(batch.output, case.title).with_suffix(".lock"), wait) as lock:
        if lock is CaseLock.HELD_ELSEWHERE:
            return None
        with measuring(segment.process_id) as usage:
            # Without a lock, what looks left over may be what another process is writing.
            broken_off = lock is CaseLock.EXCLUSIVE and finish_leftovers(batch.output / case.place, case.name)
            return _CaseWork(case, batch, explain, usage, broken_off).run(segment, reporter)


def seems_settled(case: Case, batch: Batch) -> bool:
    """Whether a case will be skipped or refused, unless its CT or its results were changed: nobody looks at these here.
    """
    if not batch.resume:
        files = case.outputs(batch.output / case.place, batch.preview).values()
        return not batch.overwrite and any(map(os.path.exists, files))
    record = read_record(record_file(batch.output, case.title))
    return (record is not None and record.state == DONE and record.made_from.get("model") == batch.model
            and record.made_from.get("settings") == dict(batch.settings))


class _CaseWork:
    """One locked case: what earlier runs left of it, and what this run makes of it."""

    def __init__(self, case: Case, batch: Batch, explain: Explain, usage: Usage, broken_off: bool) -> None:
        """`broken_off`: the run before was killed while its results appeared, or right after."""
        self._case, self._batch, self._explain, self._usage = case, batch, explain, usage
        self._broken_off = broken_off
        self._folder = batch.output / case.place
        self._files = list(case.outputs(self._folder, batch.preview).values())
        # Every kind that any run can make of the case: an earlier run may have made more kinds than this one.
        self._every_kind = list(replace(case, dicom=tuple(ENDINGS)).outputs(self._folder, preview=True).values())
        path = record_file(batch.output, case.title)
        self._previous = read_record(path)
        if self._previous is not None:
            self._our_checksums = self._previous.our_checksums
        else:
            self._our_checksums = _checksums_before(path, self._every_kind)
        self._made_from: dict[str, object] = {}
        self._written: Record | None = None

    def run(self, segment: Segment, reporter: Reporter) -> Outcome:
        """Skips, refuses or segments the case."""
        try:
            self._refuse_unfit_names()
        except UserError as error:
            return self._failed(error)
        try:
            self._refuse_earlier()
        except UserError as error:
            problem = self._explain(error, self._case)
            # Not written: the record of the earlier result stays true.
            return Outcome(self._case, self._record(FAILED, error=problem.text()), problem=problem)
        try:
            self._made_from |= {"ct": fingerprint(self._case.path), "series": self._case.series,
                                "model": self._batch.model, "settings": dict(self._batch.settings)}
            if self._batch.resume and self._previous and self._previous.finished(self._made_from, self._files):
                return Outcome(self._case, self._previous, skipped=True)
            if not self._batch.overwrite:
                _refuse_foreign(self._files, self._our_checksums)
            self._folder.mkdir(parents=True, exist_ok=True)
        except Exception as error:
            return self._failed(error)
        # Outside of the `try`: what goes wrong here, such as an absent device, goes wrong with every case.
        segment.prepare()
        try:
            rows = segment(self._case, self._folder, reporter, self._on_files_written)
            self._remove_other_kinds()
            assert self._written is not None
            return Outcome(self._case, self._written, rows=rows)
        except Exception as error:
            return self._failed(error)

    def _record(self, state: str, outputs: dict[str, str] | None = None, checks: str = "", error: str = "") -> Record:
        return Record(self._case.title, str(self._case.path.absolute()), state, self._made_from, outputs or {},
                      sorted(self._our_checksums), self._usage.seconds, self._usage.peak_mib, checks, error)

    def _on_files_written(self, files: Mapping[str, Path], rows: list[OrganRow]) -> None:
        """Records the results before they appear: a run that is killed in between leaves an unfinished case."""
        outputs = {path.name: sha256(path) for path in files.values()}
        self._written = self._record(DONE, outputs, checks_of(rows))
        write_record(self._batch.output, self._written)

    def _failed(self, error: Exception) -> Outcome:
        if self._written is not None:  # some of the results may have appeared before the error
            self._our_checksums |= self._written.our_checksums
        problem = self._explain(error, self._case)
        record = self._record(FAILED, error=problem.text())
        write_record(self._batch.output, record)
        return Outcome(self._case, record, problem=problem)

    def _refuse_unfit_names(self) -> None:
        """Raises UserError for results that no file can be called after, before anything is computed."""
        for file in self._files:
            if "\0" in file.name:
                raise UserError(code=Code.NAME_UNFIT, subject=self._case.path, expected="a name that a file can have",
                                found="one with NUL in it")
            length = len(os.fsencode(file.name))
            if length > LONGEST_FILE_NAME:
                raise UserError(code=Code.NAME_UNFIT, subject=self._case.path,
                                expected=f"a name whose results' file names have at most {LONGEST_FILE_NAME} bytes",
                                found=f"{length}", hint="give it another one in the column output of a CSV")

    def _refuse_earlier(self) -> None:
        """Raises UserError for any earlier result, where the run neither resumes nor overwrites."""
        if self._batch.resume or self._batch.overwrite or self._was_broken_off():
            return
        for file in self._files:
            if os.path.exists(file):
                raise UserError(code=Code.FILE_EXISTS, subject=file, expected="no such file yet",
                                found="an earlier result",
                                hint="--resume keeps what is finished, --overwrite replaces it")

    def _was_broken_off(self) -> bool:
        """Whether a killed run left its results, or some of them, all as it wrote them: nobody has seen them yet."""
        previous = self._previous
        if previous is None or previous.state != DONE:
            return False
        recorded = [self._folder / name for name in previous.outputs]
        if not self._broken_off and previous.finished(previous.made_from, recorded):
            return False
        return all(sha256(file) in self._our_checksums for file in self._every_kind if os.path.isfile(file))

    def _remove_other_kinds(self) -> None:
        """Removes our earlier results of kinds that this run does not make: they show another segmentation."""
        for file in self._every_kind:
            if file not in self._files and os.path.isfile(file) and sha256(file) in self._our_checksums:
                file.unlink()


def _checksums_before(record: Path, files: Iterable[Path]) -> set[str]:
    """SHA-256 of the results that are not newer than a record which cannot be read: nobody has changed them since."""
    if not os.path.isfile(record):
        return set()
    written = record.stat().st_mtime_ns
    return {sha256(file) for file in files if os.path.isfile(file) and file.stat().st_mtime_ns <= written}


def _refuse_foreign(files: Iterable[Path], our_checksums: set[str]) -> None:
    """Raises UserError for a file that somebody else wrote, or that was changed since we wrote it."""
    for file in files:
        if os.path.exists(file) and sha256(file) not in our_checksums:
            found = "a result that is not recorded"
            if our_checksums:
                found = "one that was changed since it was written"
            raise UserError(code=Code.FILE_EXISTS, subject=file, expected="no file, or one that a recorded run wrote",
                            found=found, hint="--overwrite replaces it")
