"""The tables of docs/results/fine-tuning.md that compare ways of teaching, from the rows in Resources/figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .embedded_figures import ROOT
from .markdown import table
from .robustness import rows_of

BEGIN = "<!-- ways of teaching: written by scripts/write_docs.py -->\n"
END = "<!-- end of ways of teaching -->"
TITLES = {"new": "**A new organ**, the aorta, masks in three CTs:",
          "weak": "**Weak organs**, masks of pancreas, duodenum and adrenals in three CTs:",
          "good": "**Good organs**, masks of liver, spleen and left kidney in three CTs:",
          "strokes": "**Strokes** of stomach, pancreas and duodenum in the CT that is tested on:"}
OBEYED = "obeyed"  # beside the organs: the share of drawn voxels that the network agrees with


def page() -> str:
    """The whole page: its text as it is, and the tables in the place marked for them."""
    text = (ROOT / "docs" / "results" / "fine-tuning.md").read_text(encoding="utf-8")
    before, begin, tables_and_after = text.partition(BEGIN)
    _, end, after = tables_and_after.partition(END)
    if not begin or not end:
        raise ValueError(f"fine-tuning.md: expected the lines {BEGIN.strip()} and {END}")
    return before + BEGIN + "\n" + "\n".join(_tables(rows_of("learning"))) + "\n" + END + after


def _tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for scenario, title in TITLES.items():
        of_scenario = [row for row in rows if row["scenario"] == scenario]
        if not of_scenario:
            continue
        alphas: dict[str, None] = {}
        for row in of_scenario:
            alphas |= dict.fromkeys(row["after"])
        yield from (title, "")
        cells = [_cells(row, list(alphas)) for row in of_scenario]
        titles = ("tested on", "steps", "arm", "learnt: before", *(f"alpha {alpha}" for alpha in alphas))
        yield from table(titles, cells)
        yield ""


def _cells(row: Mapping[str, Any], alphas: Sequence[str]) -> list[str]:
    before = _mean([row["before"].get(organ, 0.0) for organ in row["organs"]])
    tested = row["tested"]
    if "model" in row:
        tested += f", from {row['model']}"
    return [tested, str(row["steps"]), row["arm"].replace("_", " "), f"{before:.3f}",
            *(_after(row, row["after"].get(alpha)) for alpha in alphas)]


def _after(row: Mapping[str, Any], after: Mapping[str, float] | None) -> str:
    """Dice of what was learnt, the mean change of all other organs, the one that lost most; of strokes how many of the
    drawn voxels are obeyed. Nothing for an alpha that was not measured."""
    if after is None:
        return ""
    learnt = _mean([after[organ] for organ in row["organs"] if organ in after])
    changes = {}
    for organ, value in row["before"].items():
        if organ in after and organ not in row["organs"] and organ != OBEYED:
            changes[organ] = after[organ] - value
    worst = min(changes, key=lambda organ: changes[organ])
    text = f"{learnt:.3f} ({_mean(list(changes.values())):+.3f}; {worst.replace('_', ' ')} {changes[worst]:+.3f})"
    if OBEYED in after:
        text += f", {after[OBEYED]:.0%} obeyed"
    return text


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
