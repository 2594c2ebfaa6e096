"""Writes the list of organs that the extension adds to 3D Slicer's terminologies, from the library's `organs.json`.

    python scripts/make_terminology.py

Run it after a record has changed; a test compares. The format is that of Slicer's own lists (dcmqi's segment context).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# The script also works where the package is not installed, as in a checkout for Slicer alone.
sys.path.insert(0, str(ROOT))

from PartialOrganSegLib.organ_records import Code, OrganRecord, shipped_organs  # noqa: E402

FILE = ROOT / "PartialOrganSeg" / "Resources" / "PartialOrganSeg.term.json"
SCHEMA = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#"


def terminology() -> dict[str, Any]:
    """The content of the file: a category, in it a type for each SNOMED code, in that its lateralities."""
    categories: dict[Code, dict[str, Any]] = {}
    types: dict[tuple[Code, Code], dict[str, Any]] = {}
    for record in shipped_organs().records.values():
        if record.category not in categories:
            categories[record.category] = {**_coded(record.category), "showAnatomy": False, "Type": []}
        key = (record.category, record.code)
        if key not in types:
            types[key] = {**_coded(record.code), "3dSlicerLabel": record.code.meaning.lower()}
            categories[record.category]["Type"].append(types[key])
        _add_colour(types[key], record)
    return {"SegmentationCategoryTypeContextName": "PartialOrganSeg organs", "@schema": SCHEMA,
            "SegmentationCodes": {"Category": list(categories.values())}}


def _add_colour(entry: dict[str, Any], record: OrganRecord) -> None:
    """An organ's colour stands with its type, or with its laterality where it has one."""
    colour = {"recommendedDisplayRGBValue": list(record.colour)}
    if record.modifier is None:
        entry.update(colour)
    else:
        entry.setdefault("Modifier", []).append({**_coded(record.modifier), **colour})


def _coded(code: Code) -> dict[str, Any]:
    return {"CodingSchemeDesignator": "SCT", "CodeValue": code.value, "CodeMeaning": code.meaning}


def text() -> str:
    """The file as it must be."""
    return json.dumps(terminology(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
