"""The extension's terminology is what the organ records say."""

from __future__ import annotations

import importlib.util

from PartialOrganSegLib.organ_records import shipped_organs
from Testing.helpers.repository import ROOT


def test_the_file_is_what_the_script_writes():
    spec = importlib.util.spec_from_file_location("make_terminology", ROOT / "scripts" / "make_terminology.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.FILE.read_text(encoding="utf-8") == script.text(), "run: python scripts/make_terminology.py"
    [category] = script.terminology()["SegmentationCodes"]["Category"]
    entries = {entry["CodeValue"]: entry for entry in category["Type"]}
    for record in shipped_organs().records.values():
        entry = entries[record.code.value]
        # A side is listed below its organ: left and right kidney share one code.
        if record.modifier is not None:
            [entry] = [side for side in entry["Modifier"] if side["CodeValue"] == record.modifier.value]
        assert entry["recommendedDisplayRGBValue"] == list(record.colour)
