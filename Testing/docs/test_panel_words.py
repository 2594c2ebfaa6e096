"""Buttons and sections that the pages name are in the panel: a renamed one leaves no page behind."""

from __future__ import annotations

import ast
import re
from functools import cache
from xml.etree import ElementTree

import pytest

from Testing.helpers.pages import DOCS
from Testing.helpers.repository import ROOT

PANEL = ROOT / "PartialOrganSeg"
PAGE = (DOCS / "get-started" / "slicer.md").read_text(encoding="utf-8")
# What is in italics and belongs to Slicer itself.
OF_SLICER = {"Sample Data", "CTLiver", "CTA abdomen (Panoramix)"}


@cache
def words() -> frozenset[str]:
    """All that the panel can show."""
    shown: set[str] = set()
    for path in (PANEL / "Resources" / "UI").glob("*.ui"):
        shown |= {element.text or "" for element in ElementTree.parse(path).iter("string")}
    for path in PANEL.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                shown.add(node.value)
    return frozenset(shown)


def named() -> list[str]:
    """The words in italics from the first step on, and the headings there, which are sections' names."""
    steps = "## 1. Segment" + PAGE.partition("## 1. Segment")[2].partition("\n## What a result looks like")[0]
    headings = re.findall(r"^## (?:\d\. )?(.+)$", steps, re.M)
    steps = re.sub(r"^## .*$", "", steps, flags=re.M)
    # A name may be broken over two lines.
    steps = re.sub(r"\s+", " ", steps)
    emphasised = re.findall(r"(?<!\*)\*\*?([^*]+?)\*\*?(?!\*)", steps)
    names = {name.rstrip(".") if not name.endswith("..") else name for name in emphasised}
    return sorted((names | set(headings)) - OF_SLICER)


def test_the_page_names_sections_and_buttons() -> None:
    assert {"Correct with strokes", "Export ...", "Work list", "Add cases..."} <= set(named())


@pytest.mark.parametrize("name", named())
def test_the_panel_shows_it(name: str) -> None:
    assert name in words()


def section_titles() -> set[str]:
    """What the panel's sections, and those within them, are called."""
    titles = set()
    for path in (PANEL / "Resources" / "UI").glob("*.ui"):
        for widget in ElementTree.parse(path).iter("widget"):
            if widget.get("class") == "ctkCollapsibleButton":
                titles |= {element.findtext("string") or "" for element in widget.findall("property")
                           if element.get("name") == "text"}
    return titles


def test_sections_that_any_page_names_are_in_the_panel() -> None:
    named_sections = set()
    for page in DOCS.rglob("*.md"):
        text = re.sub(r"\s+", " ", page.read_text(encoding="utf-8"))
        named_sections |= set(re.findall(r"[Ss]ection \*([A-Z][^*]+)\*", text))
    assert {"Segment", "Strokes", "Teach the model"} <= named_sections
    assert named_sections <= section_titles()
