"""The table of volumes beside a result: which organs the label map's values are, in the order of its model's."""

from __future__ import annotations

import csv
import os
from pathlib import Path

LABELS_ENDING, TABLE_ENDING = ".labels.nii.gz", ".volumes.csv"


def listed_volumes(file: Path, ending: str = LABELS_ENDING) -> dict[str, float]:
    """Organ to ml, of the table that lies beside a file of a result, in the order of the model's; those alone that were
    asked for. NaN for what is no number. `ending`: of the file. Empty where there is no such table."""
    table = file.with_name(file.name.removesuffix(ending) + TABLE_ENDING)
    if not file.name.endswith(ending) or not os.path.isfile(table):
        return {}
    volumes: dict[str, float] = {}
    try:
        with open(table, encoding="utf-8", newline="") as stream:
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
