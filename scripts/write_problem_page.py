"""Writes docs/reference/problems.md: every code of a problem, check and data warning, from the code itself.

    python scripts/write_problem_page.py

Run it after a code was added or changed; a test compares.
"""

from __future__ import annotations

from pathlib import Path

from PartialOrganSegLib.errors import Code
from PartialOrganSegLib.finetuning.data_warning import DataWarningKind
from PartialOrganSegLib.finetuning.verdict import VerdictKind
from PartialOrganSegLib.segmenting.check_kinds import CheckKind, Place

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "problems.md"
HEAD = """# Problems, checks and data warnings

Written by `scripts/write_problem_page.py` from the code.

With `--json-events`, the events `error` and `warning` carry a problem as data: `code` (below), `subject` (the file or
setting, and where in it), `expected`, `found` and `hint`, and `message`, the line that a person reads:
`subject: expected X, found Y; hint`. A `code` never changes; the words of a message may.
In Python, `UserError` has the same attributes: `error.code`, `error.subject`, `error.expected`, `error.found`,
`error.hint`.
"""
CHECKS = """
## Checks of an organ

A `result` event of `segment` has an entry an organ: `checks` is their text and `checks_data` a list of
`kind`, `organ`, `value`, `low`, `high`, `detail` and `text`.
"""
WARNINGS = """
## Data warnings of a fine-tuning

A `warning` event with the code `data-warning` has `data`: `kind`, `case`, `organs`, `values`, `other`, `against` and
`full`.
"""
VERDICTS = """
## Verdicts of a fine-tuning

The `result` event of `finetune`, and `result.json` of its run, have `verdict`: `kind`, `organ`, `before`, `after`,
`more`, `gain`, `kept_measured`, `low`, `high`, `units`, `unit`, `change`, `agreement`, `already_good` and `asked`;
`reason` is its text. Unless it is `better` or the new model was `asked` for, the start model stays selected.
"""


def page() -> str:
    """What the page must be for the code as it is."""
    lines = [HEAD, *_table(("code", "it comes up when", "what to do"),
                           [(f"`{code}`", code.arises, code.remedy) for code in Code])]
    lines += [CHECKS, *_table(("kind", "it comes up when"), [(f"`{kind}`", kind.arises) for kind in CheckKind]), ""]
    lines += ["Places of a stray component (`detail`): " + ", ".join(f"`{place}`" for place in Place) + "."]
    lines += [WARNINGS, *_table(("kind", "it comes up when"), [(f"`{kind}`", kind.arises) for kind in DataWarningKind])]
    lines += [VERDICTS, *_table(("kind", "it comes up when"), [(f"`{kind}`", kind.arises) for kind in VerdictKind])]
    return "\n".join(lines) + "\n"


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = []
    for row in (titles, tuple("---" for _ in titles), *rows):
        line = " | ".join(text.replace("|", " or ") for text in row)  # a bar in a text would begin another column
        lines.append(f"| {line} |")
    return lines


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
