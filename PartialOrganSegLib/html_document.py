"""HTML pages of one file that load nothing and run nothing. Their texts may come from names of files, so every text is
escaped."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import escape

from .errors import one_line

# Nothing in a page may run or load, whatever stands in it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def text(content: object) -> str:
    """The content in one line, as HTML shows it."""
    return escape(one_line(str(content)))


def document(title: str, style: str, parts: Sequence[str]) -> str:
    """The whole page. `parts`: HTML of its body; `style`: CSS."""
    return ("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
            f"<meta http-equiv=\"Content-Security-Policy\" content=\"{_POLICY}\">"
            "<meta name=\"viewport\" content=\"width=device-width\">"
            f"<title>{text(title)}</title><style>{style}</style></head><body>\n" + "\n".join(parts)
            + "\n</body></html>\n")


def bullet_list(texts: Sequence[str]) -> str:
    """A list; a sentence where it is empty."""
    if not texts:
        return "<p>Nothing.</p>"
    return "<ul>" + "".join(f"<li>{text(line)}</li>" for line in texts) + "</ul>"


def table(rows: Sequence[Mapping[str, str]], words: Collection[str]) -> str:
    """A table with the first row's keys as its head; columns of `words` are aligned to the left."""
    if not rows:
        return "<p>Nothing to show.</p>"

    def cell(tag: str, column: str, content: str) -> str:
        kind = ' class="text"' if column in words else ""
        return f"<{tag}{kind}>{text(content)}</{tag}>"

    head = "".join(cell("th", column, column) for column in rows[0])
    lines = []
    for row in rows:
        lines.append("<tr>" + "".join(cell("td", column, content) for column, content in row.items()) + "</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
