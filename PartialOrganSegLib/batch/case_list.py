"""Lists of CTs as users write them: a CSV, as spreadsheets leave it, or a manifest."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..bounded_file import read_at_most
from ..errors import Code, UserError, did_you_mean
from ..events import Reporter

if TYPE_CHECKING:
    from _csv import Reader as _Rows  # its name for programs began with Python 3.13

COLUMNS = ("image", "output", "series")
MANIFEST_SUFFIXES = (".yaml", ".yml", ".json")
_LARGEST_LIST = 64 << 20  # bytes; a list of a hundred thousand CTs has a tenth of that
_LONGEST_PATH = 4096  # letters; no system has longer ones
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Entry:
    """A CT as the user named it; `output` is where its results go, where the user said so."""

    path: Path
    output: str | None = None
    series: str | None = None


def is_list(path: Path) -> bool:
    """Whether an input is a CSV or a manifest, by its name."""
    return path.suffix.lower() in (".csv", *MANIFEST_SUFFIXES) and not os.path.isdir(path)


def read_list(path: Path, reporter: Reporter) -> list[Entry]:
    """The rows of a CSV (columns image, output, series; relative to its folder) or the images of a manifest's cases."""
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        from ..datasets.manifest import load_manifest

        return [Entry(case.image, case.name) for case in load_manifest(path, reporter).cases]
    rows = _rows_of(path)
    try:
        entries = _entries_of(rows, path)
    except csv.Error as error:  # of a cell of megabytes
        raise UserError(code=Code.WRONG_FORMAT, subject=f"{path}: line {rows.line_num}", expected="a CSV",
                        found=error) from None
    if not entries:
        raise UserError(code=Code.NO_CASES, subject=path, expected="a CT a line", found="none")
    return entries


def _entries_of(rows: _Rows, path: Path) -> list[Entry]:
    columns = [column.strip() for column in next(rows, [])]
    while columns and not columns[-1]:  # spreadsheets write a column more where a cell was once used
        del columns[-1]
    _check_columns(path, columns)
    entries = []
    for row in rows:
        where = f"{path}: line {rows.line_num}"
        values = [value.strip() for value in row]
        if not any(values):
            continue
        if any(values[len(columns):]):
            raise UserError(code=Code.WRONG_FORMAT, subject=where, expected=f"{len(columns)} values", found="more")
        entries.append(_entry_of(dict(zip(columns, values, strict=False)), path.parent, where))
    return entries


def _rows_of(path: Path) -> _Rows:
    """The rows of a CSV as spreadsheets write it: UTF-8 or UTF-16, with commas, semicolons or tabs between values."""
    try:
        content = read_at_most(path, _LARGEST_LIST, "a list of CTs")
        # Excel's "Unicode text" begins with one of these marks, and has tabs.
        encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a CSV in UTF-8 or UTF-16",
                        found=f"other letters (byte {error.start})", hint="in Excel save it as 'CSV UTF-8'") from None
    except OSError as error:
        raise UserError(code=Code.NOT_READABLE, subject=path, expected="a CSV that can be read",
                        found=error.strerror or error) from None
    # Not by `splitlines`: names may hold letters that it takes for line ends.
    first, *lines = _LINE_END.split(text, maxsplit=1)
    delimiter = ","
    if first.lower().startswith("sep=") and len(first) == 5:  # Excel's own line: what stands between values
        delimiter, text = first[4], "".join(lines)
    elif "," not in first:
        # Semicolons are what spreadsheets write where the comma is the decimal mark.
        for candidate in (";", "\t"):
            if candidate in first:
                delimiter = candidate
    # A cell of any length is one CT's trouble, not the end of the list.
    csv.field_size_limit(_LARGEST_LIST)
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    """Raises UserError for an unknown column, with the nearest known one, and where `image` is missing."""
    for number, column in enumerate(columns):
        if column in columns[:number]:
            raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="columns of different names",
                            found=f"'{column}' twice")
        if column not in COLUMNS:
            raise UserError(code=Code.UNKNOWN_NAME, subject=path, expected=f"the columns {', '.join(COLUMNS)}",
                            found=f"'{column}'", hint=did_you_mean(column, COLUMNS))
    if "image" not in columns:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a column 'image'",
                        found=", ".join(columns) or "an empty file")


def _entry_of(row: Mapping[str, str], folder: Path, where: str) -> Entry:
    """The CT of a CSV's row. Raises UserError, beginning with `where`, for a row without an image."""
    image = row.get("image")
    if not image:
        raise UserError(code=Code.WRONG_FORMAT, subject=where, expected="an image", found="none")
    if len(image) > _LONGEST_PATH:  # which fails alone, as no such file can be there
        image = f"{image[:_LONGEST_PATH // 10]}..."
    return Entry(folder / image, row.get("output") or None, row.get("series") or None)
