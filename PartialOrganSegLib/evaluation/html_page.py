"""The HTML report: one file without scripts, its charts and pictures inside, so that it opens anywhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from ..html_document import bullet_list, document, table, text
from .box_plot import Boxes, box_plot, colour_key
from .confusion import Missed, missed_over_cases
from .evaluation import Evaluation
from .published import Beside
from .scoring import DECIDED, MASK, STROKES, Score
from .summary import Difference, Row, trusted_means
from .tables import difference_table, figure_table, missed_table, published_table

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2730; max-width: 1100px; margin: 2em auto; padding: 0 1em }
h1, h2, h3 { line-height: 1.2; margin: 1.6em 0 .5em } h1 { margin-top: 0 }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 13px; margin: .5em 0 }
th, td { padding: 4px 9px; border-bottom: 1px solid #d8dfe5; text-align: right; white-space: nowrap }
th { background: #eef2f5; vertical-align: bottom; white-space: normal }
td.text, th.text { text-align: left; white-space: normal }
ul { padding-left: 1.2em; color: #45535f } svg { width: 100%; max-width: 800px; font-size: 12px; fill: #1d2730 }
svg .grid { stroke: #dde3e8 } svg .median { stroke-width: 2.5 } figure { margin: 1em 0 } img { max-width: 100% }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin: 0 6px 0 12px }
@media print { body { margin: 0; max-width: none } }
"""
# Columns of words, which are aligned to the left.
_TEXT = ("structure", "called", "measured on", "paper", "task", "method", "case")
# Behind a figure that is not of a mask, so that nobody takes it for one that is.
_MARKS = {MASK: "", STROKES: " s", DECIDED: " d"}


def html_page(title: str, notes: Sequence[str], scores: Mapping[str, Sequence[Score]],
              rows: Mapping[str, Sequence[Row]], differences: Sequence[Difference], published: Sequence[Beside],
              missed: Mapping[str, Sequence[Missed]], first: Evaluation) -> str:
    """The whole page. `missed`: by model. `first`: the first model's evaluation, of whose cases there are pictures."""
    names = list(scores)
    parts = [f"<h1>{text(title)}: {text(' against '.join(names))}</h1>", bullet_list(notes)]
    for name in names:
        parts += [f"<h2>{text(name)}</h2>", table(figure_table(rows[name]), _TEXT)]
        if missed[name]:
            parts += ["<h3>Missed voxels, and what they were called</h3>", table(missed_table(missed[name]), _TEXT)]
    parts += ["<h2>Spread over cases</h2>", colour_key(names), _plots(scores)]
    if differences:
        parts += ["<h2>Comparison</h2>", table(difference_table(differences, names), _TEXT)]
    if published:
        parts += ["<h2>Published figures beside these</h2>", f"<p>Ours: {text(names[0])}, over the same organs.</p>",
                  table(published_table(published), _TEXT)]
    parts += ["<h2>Cases, worst first</h2>", *_worst(names[0], first)]
    if any(score.measured_on != MASK for of_model in scores.values() for score in of_model):
        parts.append("<p>s: on strokes; d: on the voxels that the reference decides. A case's mean is over its masks, "
                     "or over its decided voxels or strokes alone where it has none.</p>")
    for name in names:
        parts += [f"<h3>All cases: {text(name)}, Dice (%)</h3>", table(_case_table(scores[name]), _TEXT)]
    return document(title, _STYLE, parts)


def _plots(scores: Mapping[str, Sequence[Score]]) -> str:
    """A box plot of Dice and one of HD95 for each way of measuring, structures in the scores' order."""
    kinds: dict[str, dict[str, None]] = {}  # way of measuring -> its structures
    for of_model in scores.values():
        for score in of_model:
            kinds.setdefault(score.measured_on, {})[score.structure] = None
    parts = []
    for measured_on, structures in kinds.items():
        for figure, heading, factor, highest in (("dice", "Dice (%)", 100, 100.0), ("hd95_mm", "HD95 (mm)", 1, None)):
            boxes = []
            for name in structures:
                values = [_values(of_model, name, measured_on, figure, factor) for of_model in scores.values()]
                boxes.append(Boxes(name.replace("_", " "), tuple(values)))
            if any(any(box.values) for box in boxes):
                parts += [f"<h3>{heading}, on {measured_on}</h3>", box_plot(boxes, heading, highest)]
    return "".join(parts)


def _values(scores: Sequence[Score], structure: str, measured_on: str, figure: str, factor: float
            ) -> tuple[tuple[str, float], ...]:
    """(case, `factor` times the figure) of every score of the structure that has it."""
    values = []
    for score in scores:
        value = getattr(score, figure)
        if (score.structure, score.measured_on) == (structure, measured_on) and value is not None:
            values.append((score.case, factor * value))
    return tuple(values)


def _worst(name: str, evaluation: Evaluation) -> list[str]:
    scores, means = evaluation.scores, trusted_means(evaluation.scores)
    parts = [f"<p>Pictures: {text(name)}. Each case by its lowest structure, in the slices that differ most: "
             '<span class="key" style="background:#ff8c00"></span>prediction '
             '<span class="key" style="background:#00c8ff"></span>reference. The patient\'s right is on the left.</p>']
    for case, (structure, png) in evaluation.pictures.items():
        score = next(score for score in scores
                     if (score.case, score.structure) == (case, structure) and score.dice is not None)
        mean, measured_on = means[case]
        caption = f"{case}: mean Dice {100 * mean:.1f} %{_on(measured_on)}, {_score_text(score)}"
        of_case = [confusion for confusion in evaluation.confusions
                   if (confusion.case, confusion.structure) == (case, structure)]
        for row in missed_over_cases(of_case):
            caption += f"; {row.ml:.1f} ml missed, called {row.text()}"
        source = "data:image/png;base64," + base64.b64encode(png).decode()
        parts.append(f'<figure><figcaption>{text(caption)}</figcaption><img src="{source}" alt="{text(caption)}">'
                     "</figure>")
    return parts


def _score_text(score: Score) -> str:
    """`left kidney 20.3 % (precision 95.0 %, recall 11.4 %)`."""
    assert score.dice is not None
    sentence = f"{score.structure.replace('_', ' ')} {100 * score.dice:.1f} %{_on(score.measured_on)}"
    shares = []
    for name, value in (("precision", score.precision), ("recall", score.recall)):
        if value is not None:
            shares.append(f"{name} {100 * value:.1f} %")
    if shares:
        sentence += f" ({', '.join(shares)})"
    return sentence


def _on(measured_on: str) -> str:
    """Behind a figure that is not of masks: on what it was measured."""
    return "" if measured_on == MASK else f" on {measured_on}"


def _case_table(scores: Sequence[Score]) -> list[dict[str, str]]:
    """A case a row, worst mean first, a structure a column; strokes are marked with an s, decided voxels with a d.

    A mean is over the structures with the same mark.
    """
    means = trusted_means(scores)
    structures = dict.fromkeys(score.structure for score in scores)
    texts = {}
    for score in scores:
        if score.dice is not None:
            texts[score.case, score.structure] = f"{100 * score.dice:.1f}{_MARKS[score.measured_on]}"
    rows = []
    for case, (mean, measured_on) in sorted(means.items(), key=lambda item: item[1][0]):
        row = {"case": case, "mean": f"{100 * mean:.1f}{_MARKS[measured_on]}"}
        for name in structures:
            row[name.replace("_", " ")] = texts.get((case, name), "")
        rows.append(row)
    return rows
