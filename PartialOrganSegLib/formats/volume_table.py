"""The table of volumes beside a result: which organs the label map's values are, in the order of its model's."""

from __future__ import annotations

import csv
import os
from pathlib import Path

LABELS_ENDING, TABLE_ENDING = ".labels.nii.gz", ".volumes.csv"
_MOST_BYTES = 1 << 20


def listed_volumes(file: Path, ending: str = LABELS_ENDING) -> dict[str, float]:
    """Those of the table that lies beside a file of a result. `ending`: of the file. Empty where there is none."""
    if not file.name.endswith(ending):
        return {}
    return read_volumes(file.with_name(file.name.removesuffix(ending) + TABLE_ENDING))


def read_volumes(table: Path) -> dict[str, float]:
    """Organ to ml, in the order of the model's organs; those alone that were asked for. NaN for what is no number.
    Empty where there is no such table."""
    volumes: dict[str, float] = {}
    try:
        if not os.path.isfile(table) or table.stat().st_size > _MOST_BYTES:
            return {}
        with open(table, encoding="utf-8-sig", newline="") as stream:
            for row in csv.DictReader(stream):
                if row.get("organ"):
                    volumes[row["organ"]] = _number(row.get("volume_ml"))
    except (OSError, UnicodeDecodeError, csv.Error):  # somebody's own, or saved anew by another program
        return {}
    return volumes


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
