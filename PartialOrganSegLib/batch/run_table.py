"""The table of a run: a row for each case, from the records of every shard and process that wrote to the output."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from ..atomic import whole_file
from ..errors import Code, UserError
from ..safe_text import csv_cell
from .records import FOLDER, OrganRow, Record, read_record

NAME = "run_table.csv"
COLUMNS = ("case", "input", "state", "seconds", "peak_mib", "checks", "error", "host", "written")


def write_run_table(output: Path) -> Path:
    """Writes `run_table.csv` whole, and again if a record has changed meanwhile. Raises UserError.

    So of several processes that end at the same time the last one to write has read every record, without a lock.
    """
    path = output / NAME
    previous: dict[Path, int] | None = None
    # Written again until no record has changed during the writing: then it holds all that are there.
    try:
        while previous != (current := _modification_times(output)):
            previous = current
            records = [record for file in sorted(current) if (record := read_record(file))]
            with whole_file(path) as temporary, open(
                    temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
                writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore")
                writer.writeheader()
                writer.writerows(_row(record) for record in records)
    except OSError as error:
        raise UserError(code=Code.NOT_WRITABLE, subject=path,
                        found=f"could not be written: {error.strerror or error}",
                        hint="what is finished stays so: go on with --resume") from error
    return path


def _row(record: Record) -> dict[str, object]:
    """A record's cells: each on one line, and none that a spreadsheet takes for a formula."""
    # Names of files and patients come from others: a line break in one could forge a row.
    row = {}
    for column, value in vars(record).items():
        if isinstance(value, str):
            value = csv_cell(value)
        row[column] = value
    return row


def checks_of(rows: Iterable[OrganRow]) -> str:
    """The checks of a case's organs on one line."""
    return "; ".join(f"{row['organ']}: {row['checks']}" for row in rows if row["checks"])


def _modification_times(output: Path) -> dict[Path, int]:
    """Each record's file and when it was written (ns)."""
    times = {}
    for file in (output / FOLDER).rglob("*.json"):
        if not file.name.startswith("."):  # a record that is being written
            times[file] = file.stat().st_mtime_ns
    return times
