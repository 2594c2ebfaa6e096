"""Texts from files and names as tables and pages may hold them: shown, never executed, and never more than a line."""

from __future__ import annotations

import re
from html import escape

from .errors import one_line

_FORMULA = ("=", "+", "-", "@")  # what spreadsheets run
_MARKUP = re.compile(r"([\\`*_\[\]|#])")


def csv_cell(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula: an apostrophe before one is not shown there.

    >>> csv_cell("=1+1"), csv_cell("liver"), csv_cell("-3.5")
    ("'=1+1", 'liver', '-3.5')
    """
    line = one_line(text)
    if line.lstrip().startswith(_FORMULA) and not re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", line):
        return "'" + line
    return line


def markdown_text(text: str) -> str:
    """The text as a page in Markdown shows it letter by letter: no links, headings, cells or HTML.

    >>> markdown_text("a|b <i>")
    'a\\\\|b &lt;i&gt;'
    """
    return _MARKUP.sub(r"\\\1", escape(one_line(text), quote=False))
