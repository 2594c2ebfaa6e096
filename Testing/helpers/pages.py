"""The pages of the documentation as text: their links, anchors, headings and blocks of code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from Testing.helpers.repository import ROOT

DOCS = ROOT / "docs"
IN_ROOT = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "NOTICE.md")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!`)\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block; `reason` says why no test runs it, None for one that is run."""

    page: Path
    language: str
    text: str
    reason: str | None


def pages() -> list[Path]:
    """Every page, those in the repository's root too."""
    return [ROOT / name for name in IN_ROOT] + sorted(DOCS.rglob("*.md"))


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[str]:
    """What a page links to or shows."""
    # In code a pair of brackets is no link.
    yield from _LINK.findall(re.sub(r"`[^`\n]*`(?!\])", "", prose(page)))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub and the generator give to a page's headings."""
    names: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        number, name = 0, slug
        # Headings of the same text get a number, as both generators give it.
        while name in names:
            number += 1
            name = f"{slug}-{number}"
        names.add(name)
    return names


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order, without their indent."""
    text = page.read_text(encoding="utf-8")
    listed = []
    for match in _FENCE.finditer(text):
        indent = match["indent"]
        lines = [line.removeprefix(indent) for line in match["text"].splitlines(keepends=True)]
        mark = _NOT_RUN.search(text[:match.start()])
        listed.append(Block(page, match["language"], "".join(lines), None if mark is None else mark[1]))
    return listed
