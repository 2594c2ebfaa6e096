"""An evaluation as CSV, JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..formats.writing import output_file, write_table
from ..safe_text import markdown_text
from .confusion import Confusion, Missed
from .published import Beside
from .scoring import Score
from .summary import Difference, Row, Statistic

# Figures that fit on a page; the CSV has all of them.
HEADINGS = {"dice": "Dice (%)", "precision": "precision (%)", "recall": "recall (%)", "hd95_mm": "HD95 (mm)",
            "hausdorff_mm": "Hausdorff (mm)", "surface_dice": "surface Dice (%)", "assd_mm": "ASSD (mm)",
            "volume_error_percent": "volume error (%)"}
PERCENT = ("dice", "surface_dice", "precision", "recall")


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
        # Bytes of a name that are no UTF-8 become escapes, which JSON knows as well.
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
                             encoding="utf-8", errors="backslashreplace")


def write_text(path: Path, text: str) -> None:
    """UTF-8 text; bytes of a name that are no UTF-8 are escapes."""
    with output_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def markdown(title: str, notes: Sequence[str], models: Mapping[str, Sequence[Row]], differences: Sequence[Difference],
             published: Sequence[Beside], missed: Mapping[str, Sequence[Missed]]) -> str:
    """The tables of a report without its pictures. `missed`: by model."""
    # Names of cases, files and models may hold anything.
    lines = [f"# {title}", "", *(f"- {markdown_text(note)}" for note in notes)]
    for name, rows in models.items():
        lines += ["", f"## {markdown_text(name)}", "", *_markdown_table(figure_table(rows))]
        if missed[name]:
            lines += ["", "Missed voxels, and what they were called:", "", *_markdown_table(missed_table(missed[name]))]
    if differences:
        lines += ["", "## Comparison", "", *_markdown_table(difference_table(differences, list(models)))]
    if published:
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


def missed_table(rows: Sequence[Missed]) -> list[dict[str, str]]:
    """What each structure's missed voxels were called."""
    return [{"structure": row.structure.replace("_", " "), "missed (ml)": f"{row.ml:.1f}", "called": row.text()}
            for row in rows]


def write_confusions(path: Path, models: Mapping[str, Sequence[Confusion]]) -> None:
    """CSV: a row for each model, case, structure and what missed voxels of it were called."""
    rows = []
    for name, confusions in models.items():
        for confusion in confusions:
            row = {"model": name, **asdict(confusion)}
            row |= {"ml": f"{confusion.ml:.6g}", "share": f"{confusion.share:.6g}"}
            rows.append(row)
    if not rows:
        # Nothing was missed: a file with its heading says so.
        write_text(path, "model,case,structure,called,ml,share\n")
        return
    write_table(path, rows)


def difference_table(rows: Sequence[Difference], names: Sequence[str]) -> list[dict[str, str]]:
    """Two models' Dice, their difference and its test."""
    return [{"structure": row.structure.replace("_", " "), "measured on": row.measured_on, "pairs": str(row.pairs),
             f"{names[0]} (%)": f"{100 * row.first:.1f}", f"{names[1]} (%)": f"{100 * row.second:.1f}",
             "difference": f"{100 * row.mean_difference:+.2f}", "better : worse": f"{row.better} : {row.worse}",
             "Wilcoxon p": _p(row.p), "p (Holm)": _p(row.p_holm)} for row in rows]


def published_table(rows: Sequence[Beside]) -> list[dict[str, str]]:
    """The papers' rows with ours over the same organs. A distance of ours stands beside the one that the paper prints.
    """
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
