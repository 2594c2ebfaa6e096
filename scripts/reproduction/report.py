"""Ours beside the paper's: Markdown, JSON and pictures of a table's finished runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from PartialOrganSegLib.atomic import whole_file

from .chart import Bar, draw_chart
from .comparison import Verdict, judge_claims
from .curves import Panel, draw_curves
from .paired_t import PairedDifference
from .results import Figures, Result
from .table import Row, Table

EXPLANATION = """\
Ours: mean over organs of the mean Dice over test cases, mean ± standard deviation over seeds. A seed draws the
network's weights, the patches, and which of the training cases each data set gets; test cases are always the same. All
rows were trained for the same number of steps. Absolute figures are not comparable with the paper's (other data, and
with the small budget another network); what is compared is the order of the rows."""

ROWS = """\
HD95 and Hausdorff (the maximum): mm, means as of the Dice, over the cases where both the reference and the prediction
have the organ; the paper's beside them, on its own data, where it gives one. Missed: organs of test cases of which only
one of the two has a voxel, a seed. Slope: change of the loss per 1000 steps over the last fifth of the run; a row whose
loss still falls steeply was stopped too early to decide anything. A step's time is by the clock, and beside it the
processor's, which other programs on the machine do not lengthen."""

PRIOR = """\
KL(q, pbar), in nats: how far the predictions' shares of the classes on partially labelled cases are from those of the
fully labelled ones, with the running mean of pbar over mini-batches. The prior works when it falls. The whole curves
are in the picture above and in the JSON file."""

CLAIMS = """\
The difference is the mean over seeds of the first row's mean Dice minus the second's, with the 95 % interval of the
paired t-test over seeds. Detectable is the smallest true difference that these seeds, and these test cases, would show
with 80 % chance (the larger of the two). A claim holds, or the opposite does, where the difference is larger than that;
otherwise these runs do not decide it."""


@dataclass(frozen=True)
class Setting:
    """What the figures were made with, as the report says it. `material`: what the data can show, a sentence."""

    command: str
    machine: str
    data: str
    material: str
    budget: str
    day: str
    seeds: Sequence[int]


def write_report(folder: Path, table: Table, rows: Sequence[Row], results: Mapping[str, Mapping[int, Result]],
                 setting: Setting) -> list[Path]:
    """TABLE.md, TABLE.json, TABLE.png and TABLE_curves.png in `folder`, of the rows with a seed's result at least."""
    # The report is renewed after every run: rows that none has finished yet are left out, not shown as empty.
    rows = [row for row in rows if results.get(row.key)]
    # Nor are seeds that are still to come named among those that the figures are of.
    setting = replace(setting, seeds=sorted({seed for row in rows for seed in results[row.key]}))
    verdicts = judge_claims(table, results)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{table.key}{end}" for end in (".md", ".json", ".png", "_curves.png")]
    # Whole files, each in a moment: the report of an earlier run stays readable while this one is written.
    with whole_file(files[0]) as temporary:
        temporary.write_text(_markdown(table, rows, results, verdicts, setting), encoding="utf-8")
    content = {"table": table.key, "source": table.source, **asdict(setting),
               "rows": [_row_content(row, results[row.key]) for row in rows],
               "claims": [_claim_content(verdict) for verdict in verdicts]}
    with whole_file(files[1]) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    bars = []
    for row in rows:
        bars.append(Bar(row.title, [result.mean() for result in results[row.key].values()], row.published.dice))
    draw_chart(files[2], table.title, bars)
    draw_curves(files[3], _panels(rows, results))
    return files


def _panels(rows: Sequence[Row], results: Mapping[str, Mapping[int, Result]]) -> list[Panel]:
    """The losses of all rows, and KL(q, pbar) where a row has a prior."""
    losses, priors = {}, {}
    for row in rows:
        runs = results[row.key].values()
        losses[row.title] = [run.curve for run in runs]
        if any(run.kl for run in runs):
            priors[row.title] = [run.kl for run in runs]
    panels = [Panel("loss over steps (of different losses: each only against itself)", losses)]
    if priors:
        panels.append(Panel("KL(q, pbar) over steps, nats", priors))
    return panels


def _row_content(row: Row, results: Mapping[int, Result]) -> dict[str, object]:
    seeds = {}
    for seed, result in results.items():
        seeds[str(seed)] = {"mean": round(result.mean(), 4), **asdict(result)}
    return {"row": row.key, "title": row.title, "recipe": row.recipe, "datasets": row.datasets,
            "changes": row.changes, "published": row.published.dice, "published_hd95": row.published.hd95,
            "published_hausdorff": row.published.hausdorff, "seeds": seeds}


def _claim_content(verdict: Verdict) -> dict[str, object]:
    return {"claim": asdict(verdict.claim), "published": verdict.published, "verdict": verdict.verdict,
            "over_seeds": _difference_content(verdict.over_seeds),
            "over_cases": _difference_content(verdict.over_cases)}


def _difference_content(difference: PairedDifference) -> dict[str, float | None]:
    content: dict[str, float | None] = {}
    for name, value in asdict(difference).items():
        content[name] = None  # JSON has no infinity, which a single pair gives
        if math.isfinite(value):
            content[name] = round(value, 5)
    return content


def _markdown(table: Table, rows: Sequence[Row], results: Mapping[str, Mapping[int, Result]],
              verdicts: Sequence[Verdict], setting: Setting) -> str:
    facts = (("command", f"`{setting.command}`"), ("machine", setting.machine), ("data", setting.data),
             ("what it can show", setting.material), ("budget", setting.budget), ("made on", setting.day),
             ("seeds", ", ".join(map(str, setting.seeds))))
    lines = [f"# {table.title}", "", f"Paper: {table.source}.", "", f"![chart]({table.key}.png)", "", EXPLANATION, "",
             "| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in facts), ""]
    lines += ["## Rows", "", ROWS, "", *_row_lines(table, rows, results), "",
              f"![learning curves]({table.key}_curves.png)", ""]
    lines += ["## Organs", "", *_organ_lines(rows, results), ""]
    lines += _divergence_lines(rows, results)
    lines += ["## Claims", "", CLAIMS, "", *_claim_lines(table, verdicts)]
    return "\n".join(lines) + "\n"


def _row_lines(table: Table, rows: Sequence[Row], results: Mapping[str, Mapping[int, Result]]) -> list[str]:
    lines = ["| row | recipe | trained on | ours | paper | HD95 mm | paper | Hausdorff mm | paper | missed | slope | "
             "s a step | of the processor |", "|---|---|---|---|---|---|---|---|---|---|---|---|---|"]
    pooled = {dataset.name: dataset.pooled_as or dataset.name for dataset in table.datasets}
    for row in rows:
        runs = list(results[row.key].values())
        # Sets that are pooled are one for the training, and for a reader.
        sets = list(dict.fromkeys(pooled[name] for name in row.datasets))
        cells = [row.title, row.recipe, " + ".join(sets), _spread([run.mean() for run in runs], 3),
                 _number(row.published.dice, ".3f"), _distance(runs, [run.hd95 for run in runs]),
                 _number(row.published.hd95, ".1f"), _distance(runs, [run.hausdorff for run in runs]),
                 _number(row.published.hausdorff, ".1f"), f"{np.mean([run.missed() for run in runs]):.1f}",
                 _spread([slope for run in runs if (slope := run.slope()) is not None], 3),
                 f"{np.mean([run.step_seconds for run in runs]):.2f}",
                 _spread([run.processor_seconds for run in runs if run.processor_seconds is not None], 2)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _organ_lines(rows: Sequence[Row], results: Mapping[str, Mapping[int, Result]]) -> list[str]:
    by_row: dict[str, list[dict[str, float]]] = {}
    names: dict[str, None] = {}  # in the order in which they first come up
    for row in rows:
        by_row[row.key] = [result.organs() for result in results[row.key].values()]
        for figures in by_row[row.key]:
            names.update(dict.fromkeys(figures))
    lines = [f"| row | {' | '.join(name.replace('_', ' ') for name in names)} |", f"|---|{'---|' * len(names)}"]
    for row in rows:
        cells = []
        for name in names:
            cells.append(_spread([figures[name] for figures in by_row[row.key] if name in figures], 3))
        lines.append(f"| {row.title} | {' | '.join(cells)} |")
    return lines


def _divergence_lines(rows: Sequence[Row], results: Mapping[str, Mapping[int, Result]]) -> list[str]:
    """The start and the end of KL(q, pbar), of rows that have a prior; nothing where none has."""
    lines = []
    for row in rows:
        curves = [result.kl for result in results[row.key].values() if result.kl]
        if curves:
            cells = [row.title, _spread([curve[0][1] for curve in curves], 3),
                     _spread([curve[-1][1] for curve in curves], 3)]
            lines.append(f"| {' | '.join(cells)} |")
    if not lines:
        return []
    return ["## Prior", "", PRIOR, "", "| row | KL at first | KL at last |", "|---|---|---|", *lines, ""]


def _claim_lines(table: Table, verdicts: Sequence[Verdict]) -> list[str]:
    titles = {row.key: row.title for row in table.rows}
    lines = ["| claim | paper | ours | 95 % interval | detectable | verdict |", "|---|---|---|---|---|---|"]
    for verdict in verdicts:
        ours = verdict.over_seeds
        interval, detectable = "", ""
        # A single seed has no interval, and nothing that it could detect.
        if math.isfinite(ours.high):
            interval = f"{ours.low:+.3f} to {ours.high:+.3f}"
        if math.isfinite(verdict.detectable):
            detectable = f"{verdict.detectable:.3f}"
        lines.append(f"| {titles[verdict.claim.better]} > {titles[verdict.claim.worse]} | "
                     f"{_number(verdict.published, '+.3f')} | {ours.mean:+.3f} | {interval} | {detectable} | "
                     f"**{verdict.verdict}** |")
    return lines


def _distance(runs: Sequence[Result], figures: Sequence[Figures]) -> str:
    means = [run.mean_distance(values) for run, values in zip(runs, figures, strict=True)]
    return _spread([mean for mean in means if mean is not None], 1)


def _number(value: float | None, form: str) -> str:
    if value is None:
        return ""
    return format(value, form)


def _spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation, the mean alone of one value, nothing of none."""
    if not values:
        return ""
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}"
