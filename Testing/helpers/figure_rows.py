"""Rows of a benchmark's table kept as JSON, from which pages of the documentation are made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PartialOrganSegLib.segmenting.backend import computes_bfloat16

Row = dict[str, Any]


def keep_rows(file: Path, rows: Sequence[Row], keys: Sequence[str]) -> None:
    """Adds rows to a file's list, in place of those that have the same values of `keys` and are of the same kind of
    processor, with instructions for bfloat16 or without; a row a line."""
    kept: list[Row] = []
    if not computes_bfloat16():
        rows = [{**row, "bfloat16": False} for row in rows]
    if file.exists():
        kept = json.loads(file.read_text(encoding="utf-8"))
    new = {_identity(row, keys) for row in rows}
    kept = [row for row in kept if _identity(row, keys) not in new]
    lines = [json.dumps(row) for row in [*kept, *rows]]
    file.write_text("[\n " + ",\n ".join(lines) + "\n]\n", encoding="utf-8")


def _identity(row: Row, keys: Sequence[str]) -> tuple[object, ...]:
    # Rows from before this was kept are of processors with it.
    return (row.get("bfloat16", True), *(row.get(key) for key in keys))
