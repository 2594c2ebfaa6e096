"""Ours beside the paper's: Markdown, JSON and a chart of a table's finished runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from PartialOrganSegLib.atomic import whole_file

from .chart import Bar, draw_chart
from .comparison import Verdict, judge_claims
from .runs import Result
from .tables import Row, Table

EXPLANATION = """\
Ours: mean over organs of the mean Dice over test cases, mean ± standard deviation over seeds. A seed draws the
network's weights, the patches, and which of the training cases each data set gets; test cases are always the same. All
rows were trained for the same number of steps. Absolute figures are not comparable with the paper's (other data, and
with the small budget another network); what is compared is the order of the rows."""

CLAIMS = """\
The difference is the mean over seeds of the first row's mean Dice minus the second's; its noise is twice the larger of
its standard errors over seeds and over test cases."""


@dataclass(frozen=True)
class Setting:
    """What the figures were made with, as told in the report."""

    command: str
    machine: str
    data: str
    budget: str
    day: str
    seeds: Sequence[int]


def write_report(folder: Path, table: Table, rows: Sequence[Row], results: Mapping[str, Mapping[int, Result]],
                 setting: Setting) -> list[Path]:
    """TABLE.md, TABLE.json and TABLE.png in `folder`, of the rows that have at least one seed's result."""
    rows = [row for row in rows if results.get(row.key)]
    verdicts = judge_claims(table, results)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{table.key}{end}" for end in (".md", ".json", ".png")]
    with whole_file(files[0]) as temporary:
        temporary.write_text(_markdown(table, rows, results, verdicts, setting), encoding="utf-8")
    content = {"table": table.key, "source": table.source, **asdict(setting),
               "rows": [_row_content(row, results[row.key]) for row in rows],
               "claims": [{**asdict(verdict), "verdict": verdict.verdict} for verdict in verdicts]}
    with whole_file(files[1]) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draw_chart(files[2], table.title,
               [Bar(row.title, [result.mean() for result in results[row.key].values()], row.published) for row in rows])
    return files


def _row_content(row: Row, results: Mapping[int, Result]) -> dict[str, object]:
    return {"row": row.key, "title": row.title, "recipe": row.recipe, "datasets": row.datasets,
            "changes": row.changes, "published": row.published,
            "seeds": {str(seed): {"mean": round(result.mean(), 4), **asdict(result)}
                      for seed, result in results.items()}}


def _markdown(table: Table, rows: Sequence[Row], results: Mapping[str, Mapping[int, Result]],
              verdicts: Sequence[Verdict], setting: Setting) -> str:
    titles = {row.key: row.title for row in table.rows}
    lines = [f"# {table.title}", "", f"Paper: {table.source}.", "", f"![chart]({table.key}.png)", "", EXPLANATION, "",
             "| | |", "|---|---|",
             *(f"| {name} | {text} |" for name, text in (
                 ("command", f"`{setting.command}`"), ("machine", setting.machine), ("data", setting.data),
                 ("budget", setting.budget), ("made on", setting.day),
                 ("seeds", ", ".join(map(str, setting.seeds))))),
             "", "## Rows", "",
             "| row | recipe | trained on | ours | paper |", "|---|---|---|---|---|"]
    for row in rows:
        means = [result.mean() for result in results[row.key].values()]
        published = "" if row.published is None else f"{row.published:.3f}"
        lines.append(f"| {row.title} | {row.recipe} | {' + '.join(row.datasets)} | {_spread(means)} | {published} |")
    organs = list(dict.fromkeys(name for row in rows for result in results[row.key].values()
                                for name in result.organs()))
    lines += ["", "## Organs", "", f"| row | {' | '.join(name.replace('_', ' ') for name in organs)} |",
              f"|---|{'---|' * len(organs)}"]
    for row in rows:
        per_seed = [result.organs() for result in results[row.key].values()]
        values = [[figures[name] for figures in per_seed if name in figures] for name in organs]
        lines.append(f"| {row.title} | {' | '.join(_spread(each) if each else '' for each in values)} |")
    lines += ["", "## Claims", "", CLAIMS, "", "| claim | paper | ours | noise | verdict |", "|---|---|---|---|---|"]
    for verdict in verdicts:
        published = "" if verdict.published is None else f"{verdict.published:+.3f}"
        lines.append(f"| {titles[verdict.claim.better]} > {titles[verdict.claim.worse]} | {published} | "
                     f"{verdict.difference:+.3f} | {verdict.noise:.3f} | **{verdict.verdict}** |")
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.3f}"
    return f"{mean} ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else mean
