"""An evaluation as CSV, JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..formats.writing import output_file, write_table
from ..safe_text import markdown_text
from .published import Beside
from .scoring import Score
from .summary import Difference, Row, Statistic

# Figures that fit on a page; the CSV has all of them.
HEADINGS = {"dice": "Dice (%)", "hd95_mm": "HD95 (mm)", "hausdorff_mm": "Hausdorff (mm)",
            "surface_dice": "surface Dice (%)", "assd_mm": "ASSD (mm)", "volume_error_percent": "volume error (%)"}
PERCENT = ("dice", "surface_dice")


def write_scores(path: Path, models: Mapping[str, Sequence[Score]]) -> None:
    """CSV: a row for each model, case and structure, every figure in full."""
    rows = []
    for name, scores in models.items():
        for score in scores:
            row = {"model": name}
            for key, value in asdict(score).items():
                row[key] = f"{value:.6g}" if isinstance(value, float) else value
            rows.append(row)
    write_table(path, rows)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """UTF-8 JSON; a figure that does not exist is null."""
    with output_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
                             encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """UTF-8 text."""
    with output_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def markdown(title: str, notes: Sequence[str], models: Mapping[str, Sequence[Row]], differences: Sequence[Difference],
             published: Sequence[Beside]) -> str:
    """The tables of a report without its pictures."""
    # Names of cases, files and models may hold anything.
    lines = [f"# {title}", "", *(f"- {markdown_text(note)}" for note in notes)]
    for name, rows in models.items():
        lines += ["", f"## {markdown_text(name)}", "", *_markdown_table(figure_table(rows))]
    if differences:
        lines += ["", "## Comparison", "", *_markdown_table(difference_table(differences, list(models)))]
    lines += ["", "## Published figures", "", *_markdown_table(published_table(published))]
    return "\n".join(lines) + "\n"


def figure_table(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Mean ± standard deviation of each structure, with what is missing."""
    table = []
    for row in rows:
        texts = {"structure": row.structure.replace("_", " "), "measured on": row.measured_on, "cases": str(row.cases)}
        for figure, heading in HEADINGS.items():
            texts[heading] = shown(row.figures[figure], 100 if figure in PERCENT else 1)
        texts |= {"in neither": str(row.in_neither), "not predicted": str(row.not_predicted),
                  "not in reference": str(row.not_in_reference)}
        table.append(texts)
    return table


def difference_table(rows: Sequence[Difference], names: Sequence[str]) -> list[dict[str, str]]:
    """Two models' Dice, their difference and its test."""
    return [{"structure": row.structure.replace("_", " "), "measured on": row.measured_on, "pairs": str(row.pairs),
             f"{names[0]} (%)": f"{100 * row.first:.1f}", f"{names[1]} (%)": f"{100 * row.second:.1f}",
             "difference": f"{100 * row.mean_difference:+.2f}", "better : worse": f"{row.better} : {row.worse}",
             "Wilcoxon p": _p(row.p), "p (Holm)": _p(row.p_holm)} for row in rows]


def published_table(rows: Sequence[Beside]) -> list[dict[str, str]]:
    """The papers' rows with ours over the same organs, as far as they were measured. A distance of ours stands beside
    the one that the paper prints."""
    table = []
    for beside in rows:
        published = beside.row
        texts = {"paper": published.source, "task": published.task, "method": published.method,
                 "Dice (%)": f"{100 * published.dice:.2f}", "ours (%)": _mean(beside.ours, 100, 2)}
        for heading, value, ours in (("HD95 (mm)", published.hd95, beside.ours_hd95),
                                     ("Hausdorff (mm)", published.hausdorff, beside.ours_hausdorff)):
            texts[heading] = _mean(value, 1, 2)
            texts[f"our {heading}"] = ""
            if value is not None:
                texts[f"our {heading}"] = _mean(ours, 1, 2)
        texts["of its organs"] = f"{beside.organs} of {len(published.organs)}"
        table.append(texts)
    return table


def _mean(value: float | None, factor: float, digits: int) -> str:
    if value is None:
        return ""
    return f"{factor * value:.{digits}f}"


def shown(statistic: Statistic | None, factor: float = 1.0) -> str:
    """`91.2 ± 3.4`; a dash where there is no value, no ± of a single one."""
    if statistic is None:
        return "-"
    text = f"{factor * statistic.mean:.1f}"
    if statistic.std is None:
        return text
    return f"{text} ± {factor * statistic.std:.1f}"


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}"


def _markdown_table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    if not rows:
        return ["nothing"]
    lines = ["| " + " | ".join(map(markdown_text, rows[0])) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        cells = [markdown_text(text) for text in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return lines
