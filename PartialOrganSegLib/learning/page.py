"""The one page of a run: what was learnt, the verdict and its reason, pictures, what to draw next. It needs no network
and runs nothing; every text in it may come from a file's name, so every text is escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..finetuning.wording import title
from ..html_document import bullet_list, document, table
from ..html_document import text as _text

_STYLE = """
body { font: 15px/1.55 system-ui, sans-serif; color: #1d2730; max-width: 980px; margin: 2em auto; padding: 0 1em }
h1, h2 { line-height: 1.2; margin: 1.7em 0 .5em } h1 { margin-top: 0; font-size: 1.7em } h2 { font-size: 1.25em }
.verdict { padding: .9em 1.2em; border-radius: 6px; border-left: 6px solid #8795a1; background: #f2f4f6 }
.verdict.new { border-color: #2e8b57; background: #eef7f1 }
.verdict.start { border-color: #d9822b; background: #fdf5ec }
.verdict b { font-size: 1.15em } .wide { overflow-x: auto }
table { border-collapse: collapse; font-size: 13px; margin: .5em 0 }
th, td { padding: 4px 10px; border-bottom: 1px solid #d8dfe5; text-align: right; white-space: nowrap }
th { background: #eef2f5; vertical-align: bottom } td.text, th.text { text-align: left; white-space: normal }
figure { margin: 1em 0 } figcaption { color: #45535f; font-size: 14px; margin-bottom: .3em } img { max-width: 100% }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin: 0 5px 0 12px;
       border: 1px solid #8795a1 }
code { background: #eef2f5; padding: .1em .3em; border-radius: 3px; word-break: break-all }
.small { color: #45535f; font-size: 13px }
@media print { body { margin: 0; max-width: none } }
"""
# Columns of words, which are aligned to the left.
_WORDS = {"case", "kind", "remark", "organs", "drawn in", "organ", "measured on", "CT", "by"}


@dataclass
class PageContent:
    """All that the page shows. `result`: of the run, as result.json has it. `pictures`: caption and PNG.
    `colours`: organ to RGB. `learnt_dice`: rows of Dice on the CTs that were learnt from."""

    title: str
    result: Mapping[str, Any]
    cases: Sequence[Mapping[str, str]]
    left_out: Sequence[str] = ()
    curve: bytes | None = None
    pictures: Sequence[tuple[str, bytes]] = ()
    colours: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    learnt_dice: Sequence[Mapping[str, str]] = ()
    strokes: Sequence[Mapping[str, str]] = ()
    volumes: Sequence[Mapping[str, str]] = ()
    steps: Sequence[str] = ()
    warnings: Sequence[str] = ()
    model: str = ""


def learn_page(content: PageContent) -> str:
    """The whole page."""
    parts = [f"<h1>{_text(content.title)}</h1>", *_verdict(content.result, content.model)]
    parts += ["<h2>What to draw next</h2>", bullet_list(content.steps)]
    parts += ["<h2>Before and after</h2>", table(_dice_rows(content.result), _WORDS),
              '<p class="small">Dice from 0 to 1, 1 is equal. "measured on" says how far a figure can be trusted: '
              "slabs of the CTs that were learnt from look better than a new patient will.</p>"]
    parts += _drift(content.result)
    parts += _pictures(content)
    if content.volumes:
        parts += ["<h2>The other CTs of the folder</h2>", table(content.volumes, _WORDS)]
    if content.curve is not None:
        parts += ["<h2>The run</h2>", _figure("Loss, and Dice where it was measured on the way", content.curve)]
    parts += ["<h2>What was learnt from</h2>", table(content.cases, _WORDS)]
    if content.learnt_dice:
        parts += ['<p class="small">Dice with what was drawn on these CTs. The new model has seen them, so this says '
                  "how well it follows the drawings, not how good it is.</p>", table(content.learnt_dice, _WORDS)]
    if content.strokes:
        parts += ['<p class="small">How many of the drawn voxels the new model agrees with. In its labels of these CTs '
                  "the strokes are obeyed: where it contradicted them it was corrected, and around them what looks "
                  "alike.</p>", table(content.strokes, _WORDS)]
    if content.warnings:
        parts += ["<h2>Noticed</h2>", bullet_list(content.warnings)]
    if content.left_out:
        parts += ["<h2>Left out</h2>", bullet_list(content.left_out)]
    parts.append('<p class="small">For research. The figures are of these CTs and say little of others.</p>')
    return document(content.title, _STYLE, parts)


def _verdict(result: Mapping[str, Any], model: str) -> list[str]:
    """The verdict with its reason, and the model to go on with."""
    selected = str(result.get("selected", "start"))
    is_new = selected != "start"
    kind, heading = "start", "The start model stays the one to use."
    if is_new:
        kind, heading = "new", "The new model is the better one."
    reason = str(result.get("reason", ""))
    reason = reason[:1].upper() + reason[1:]
    return [f'<div class="verdict {kind}"><b>{heading}</b><br>{_text(reason)}.</div>',
            f"<p>Go on with: <code>{_text(model)}</code></p>"]


def _dice_rows(result: Mapping[str, Any]) -> list[dict[str, str]]:
    rows = []
    has_intervals = any("low" in figures for figures in dict(result.get("dice", {})).values())
    for organ, figures in dict(result.get("dice", {})).items():
        before, after = figures.get("before"), figures.get("after")
        # A new organ has no figure before.
        change, group = "", "kept"
        if before is not None and after is not None:
            change = f"{after - before:+.3f}"
        if figures.get("group") == "changed":
            group = "learnt"
        row = {"organ": title(organ), "": group, "before": _number(before), "after": _number(after),
               "change": change}
        if has_intervals:
            row["95 % interval"] = _interval(figures)
        rows.append(row | {"measured on": str(figures.get("measured_on", ""))})
    return rows


def _interval(figures: Mapping[str, Any]) -> str:
    """Of the change, over patients or slabs; empty where a figure has none, as on phantoms."""
    low, high = figures.get("low"), figures.get("high")
    if low is None or high is None:
        return ""
    return f"{low:+.3f} to {high:+.3f}"


def _drift(result: Mapping[str, Any]) -> list[str]:
    """Organs that no mask shows: how much of each the two models find on the same CTs, and how far they agree."""
    rows = []
    for organ, figures in dict(result.get("drift", {})).items():
        remark = "changed by more than noise: look at it" if figures.get("drifted") else ""
        rows.append({"organ": title(organ), "CTs": str(figures.get("cases", "")),
                     "before": _millilitres(figures.get("before_ml")), "after": _millilitres(figures.get("after_ml")),
                     "Dice of the two": _number(figures.get("agreement")), "remark": remark})
    if not rows:
        return []
    return ["<h2>Organs that nobody drew</h2>", table(rows, _WORDS),
            '<p class="small">Mean volumes by both models on the same CTs, and how far the models agree there. Nobody '
            "knows who is right.</p>"]


def _millilitres(value: object) -> str:
    return f"{value:.0f} ml" if isinstance(value, (int, float)) else ""


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, (int, float)) else ""


def _pictures(content: PageContent) -> list[str]:
    if not content.pictures:
        return []
    keys = []
    for organ, (red, green, blue) in content.colours.items():
        keys.append(f'<span class="key" style="background:rgb({red},{green},{blue})"></span>'
                    f"{_text(organ.replace('_', ' '))}")
    keys.append('<span class="key" style="background:#fff"></span>what was drawn')
    parts = [f"<p>{''.join(keys)}. Each CT in the slice in which the models differ most; the patient's right is on the "
             "left.</p>"]
    return parts + [_figure(caption, png) for caption, png in content.pictures]


def _figure(caption: str, png: bytes) -> str:
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    return (f'<figure><figcaption>{_text(caption)}</figcaption><img src="{source}" alt="{_text(caption)}"></figure>')
