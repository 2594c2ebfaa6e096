"""Markdown that several pages need: tables, and texts that are safe in a cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NOTE = "Written by `python scripts/write_docs.py` from the code: change it there.\n"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    lines = [_line(titles), _line(["---"] * len(titles))]
    lines += [_line(row) for row in rows]
    return lines


def _line(cells: Sequence[str]) -> str:
    texts = []
    for cell in cells:
        # A bar would begin another cell, a line break another row.
        texts.append(" ".join(cell.split()).replace("|", "\\|"))
    return f"| {' | '.join(texts)} |"


def code(text: object) -> str:
    """`text` as code, empty where there is none."""
    if text in (None, ""):
        return ""
    return f"`{text}`"
