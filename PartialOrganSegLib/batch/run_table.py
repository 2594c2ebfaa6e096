"""The table of a run: a case a row, from the records of every shard and process that wrote to the output."""

from __future__ import annotations

import csv
from pathlib import Path

from ..atomic import whole_file
from ..errors import Code, UserError
from .records import FOLDER, read_record

NAME = "run_table.csv"
COLUMNS = ("case", "input", "state", "seconds", "peak_mib", "checks", "error", "host", "written")


def write_run_table(output: Path) -> Path:
    """Writes `run_table.csv` whole, and again should a record have changed meanwhile. Raises UserError.

    So of several processes that end at the same time the last to write has seen every record, without a lock.
    """
    path = output / NAME
    seen: dict[Path, int] | None = None
    try:
        while seen != (now := _stamps(output)):
            seen = now
            records = [record for file in sorted(seen) if (record := read_record(file))]
            with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore")
                writer.writeheader()
                writer.writerows(vars(record) for record in records)
    except OSError as error:
        raise UserError(code=Code.NOT_WRITABLE, subject=path,
                        found=f"could not be written: {error.strerror or error}") from error
    return path


def checks_of(rows: list[dict]) -> str:
    """The checks of a case's organs on one line."""
    return "; ".join(f"{row['organ']}: {row['checks']}" for row in rows if row["checks"])


def _stamps(output: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in (output / FOLDER).rglob("*.json")
            if not file.name.startswith(".")}
