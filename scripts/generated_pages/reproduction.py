"""docs/results/reproduction-tables.md: the reports of scripts/reproduce.py, one after the other."""

from __future__ import annotations

import re

from .embedded_figures import ROOT

TABLES = ("word", "marginal", "pann", "pipo")
HEAD = """# Tables of the papers, in small

From `Resources/reproduction`, where `scripts/reproduce.py` wrote them; [reproduction](reproduction.md) sums them up.

"""


def page() -> str:
    reports = []
    for name in TABLES:
        text = (ROOT / "Resources" / "reproduction" / f"{name}.md").read_text(encoding="utf-8")
        # Each report is a part of this page, and its chart lies beside the report.
        text = re.sub(r"^#", "##", text, flags=re.MULTILINE)
        reports.append(text.replace(f"]({name}.png)", f"](../../Resources/reproduction/{name}.png)"))
    return HEAD + "\n".join(reports)
