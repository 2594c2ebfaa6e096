"""Texts from files and names as tables and pages may hold them: shown, never executed, and never more than a line."""

from __future__ import annotations

import re
from html import escape

from .errors import one_line

# What spreadsheets take for the beginning of a formula, also in the wide letters of East Asia.
_FORMULA = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?")
_MARKUP = re.compile(r"([\\`*_\[\]|#])")


def csv_cell(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula: an apostrophe before one is not shown there.

    Neither does one begin behind a semicolon, where a spreadsheet set to semicolons would begin a cell.

    >>> csv_cell("=1+1"), csv_cell("liver"), csv_cell("-3.5"), csv_cell("a;=1+1")
    ("'=1+1", 'liver', '-3.5', "a;'=1+1")
    """
    line = one_line(text)
    if _NUMBER.fullmatch(line):
        return line
    return re.sub(rf"(^|[;,|])(\s*[{_FORMULA}])", r"\1'\2", line)


def markdown_text(text: str) -> str:
    """The text as a page in Markdown shows it letter by letter: no links, headings, cells or HTML.

    >>> markdown_text("a|b <i>")
    'a\\\\|b &lt;i&gt;'
    """
    return _MARKUP.sub(r"\\\1", escape(one_line(text), quote=False))
