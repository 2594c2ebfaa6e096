"""docs/results/reproduction-tables.md: the reports of scripts/reproduce.py, one after the other."""

from __future__ import annotations

import re

from .embedded_figures import ROOT

REPORTS = ROOT / "Resources" / "reproduction"
# The order of the page; tables without a report are left out.
TABLES = ("word", "word_networks", "marginal", "own_parts", "shi_losses", "shi_single", "shi_weights",
          "shi_annotations", "shi_rivals", "shi_missing", "pann", "pann_2d", "pipo", "pipo_networks")
HEAD = """# Tables of the papers, in small

From `Resources/reproduction`, where `scripts/reproduce.py` wrote them; [reproduction](reproduction.md) sums them up.

"""


def page() -> str:
    reports = []
    for name in TABLES:
        report = REPORTS / f"{name}.md"
        if not report.exists():
            continue
        # Each report is a part of this page, and its pictures lie beside the report.
        text = re.sub(r"^#", "##", report.read_text(encoding="utf-8"), flags=re.MULTILINE)
        reports.append(re.sub(r"\]\((\w+\.png)\)", r"](../../Resources/reproduction/\1)", text))
    return HEAD + "\n".join(reports)
