"""Figures of the embedded model: the README's table and docs/results/embedded-figures.md, from Resources/figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

from PartialOrganSegLib.organ_records import shipped_organs
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.resources import resource

from .markdown import NOTE, table

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"human": "Drawn by clinicians or radiologists", "strokes": "Strokes of this project",
         "agreement": "Agreement with another model"}
ABOUT = {
    "human": "Outlines that people drew.",
    "strokes": "Drawn by eye for this project, not by a physician: the organ against all else that was drawn. Dice "
               "over strokes is easier than over an outline.",
    "agreement": "Labels of another model: how far two models agree, not which of them is right. Where they are "
                 "hk13's, that is the embedded model's own first network, so TotalSegmentator's say more.",
}
HEAD = """# Figures of the embedded model {version}

{note}
From `Resources/figures/embedded_{version}.json`, which `scripts/embedded/figures.py` measured; its first lines say how.
*hk13's own way*: Dice of hk13 itself, run with the windows and resampling of its authors.
No CT below was trained on by the network that has the say of the organ, unless the [model card](model-card.md) says so.
"""
FAST_HEAD = """## With `--fast`

The same networks and weights, hk13's on a grid of 3 x 2 x 2 mm instead of 1.97 x 1.54 x 1.54 mm, which it was not
trained on (`Resources/figures/embedded_{version}_fast.json`, by `scripts/embedded/figures.py --fast`). Mean Dice over
the same CTs as above: as usual, fast, the difference, and that of the CT that loses most. What it saves is on the page
[speed and memory](speed.md).
"""


class Score(TypedDict, total=False):
    """One organ of one CT; distances in mm; `hk13_` is the network hk13 run its own way, where it knows the organ."""

    kind: str
    whose: str
    ct: str
    organ: str
    dice: float
    hd95_mm: float
    hk13_dice: float
    hk13_hd95_mm: float


def version() -> str:
    """The version of the model that ships."""
    content = json.loads((resource("models") / "embedded" / "configs" / "metadata.json").read_text(encoding="utf-8"))
    return str(content["version"])


def read_scores(way: str = "") -> list[Score]:
    """The figures of the model that ships, or of a `way` of using it. Raises FileNotFoundError where nobody measured
    this version."""
    path = ROOT / "Resources" / "figures" / f"embedded_{version()}{way}.json"
    scores: list[Score] = json.loads(path.read_text(encoding="utf-8"))
    return scores


def readme_table() -> str:
    """An organ a row, a kind of reference a column: mean Dice, number of CTs, and the worst of them."""
    scores = read_scores()
    rows = []
    authors = dict.fromkeys(score["whose"] for score in scores if score["kind"] == "agreement")
    for organ in WORD16.names:
        row = [_title(organ), *(_short(_of(scores, kind, organ)) for kind in ("human", "strokes"))]
        # Another model and the embedded model's own first network are not one kind of reference.
        for author in authors:
            row.append(_short([score for score in _of(scores, "agreement", organ) if score["whose"] == author]))
        rows.append(row)
    # The worst beside the mean: one failed CT among ten hardly moves a mean.
    titles = ["Dice (CTs, the worst)", KINDS["human"].lower(), KINDS["strokes"].lower(),
              *(f"agreement with labels of {author}" for author in authors)]
    return "\n".join([f"Embedded model {version()}:", "", *table(titles, rows)]) + "\n"


def page() -> str:
    scores = read_scores()
    lines = [HEAD.format(version=version(), note=NOTE)]
    for kind, title in KINDS.items():
        rows = []
        for organ in WORD16.names:
            of_organ = _of(scores, kind, organ)
            if of_organ:
                rows.append(_long(organ, of_organ))
        titles = ("organ", "whose labels", "CTs", "mean Dice", "worst", "mean HD95 mm", "hk13's own way")
        lines += [f"## {title}", "", ABOUT[kind], "", *table(titles, rows), ""]
    lines += [FAST_HEAD.format(version=version()), *fast_table(scores), "", "## Every CT", ""]
    cases = [(score["ct"], _title(score["organ"]), score["whose"], f"{score['dice']:.3f}", _number(score, "hd95_mm", 1),
              _number(score, "hk13_dice", 3)) for score in scores]
    lines += table(("CT", "organ", "whose labels", "Dice", "HD95 mm", "hk13's own way"), cases)
    return "\n".join(lines) + "\n"


def fast_table(scores: Sequence[Score]) -> list[str]:
    """An organ a row: mean Dice of each kind of reference, as usual and with `--fast`, over the same CTs."""
    fast = read_scores("_fast")
    rows = []
    for organ in WORD16.names:
        row = [_title(organ)]
        for kind in KINDS:
            row.append(_beside(_of(scores, kind, organ), _of(fast, kind, organ)))
        rows.append(row)
    return table(["organ", *KINDS.values()], rows)


def _beside(usual: Sequence[Score], fast: Sequence[Score]) -> str:
    """Both means, their difference, and the largest loss of a CT."""
    other = {(score["ct"], score["whose"]): score["dice"] for score in fast}
    pairs = [(score["dice"], other[score["ct"], score["whose"]]) for score in usual]
    if not pairs:
        return ""
    before, after = (sum(dice) / len(pairs) for dice in zip(*pairs, strict=True))
    worst = min(new - old for old, new in pairs)
    return f"{before:.3f}, fast {after:.3f} ({after - before:+.3f}; worst {worst:+.3f})"


def card() -> str:
    """The card that ships with the model, as a page."""
    return (resource("models") / "embedded" / "README.md").read_text(encoding="utf-8")


def _of(scores: Sequence[Score], kind: str, organ: str) -> list[Score]:
    return [score for score in scores if score["kind"] == kind and score["organ"] == organ]


def _title(organ: str) -> str:
    return shipped_organs().records[organ].title


def _short(scores: Sequence[Score]) -> str:
    if not scores:
        return ""
    dice = [score["dice"] for score in scores]
    if len(dice) == 1:
        return f"{dice[0]:.3f} (1)"
    return f"{sum(dice) / len(dice):.3f} ({len(dice)}, {min(dice):.3f})"


def _long(organ: str, scores: Sequence[Score]) -> tuple[str, ...]:
    dice = [score["dice"] for score in scores]
    authors = dict.fromkeys(score["whose"] for score in scores)
    return (_title(organ), "; ".join(authors), str(len(scores)), f"{sum(dice) / len(dice):.3f}", f"{min(dice):.3f}",
            _mean(scores, lambda score: score.get("hd95_mm"), 1),
            _mean(scores, lambda score: score.get("hk13_dice"), 3))


def _mean(scores: Sequence[Score], figure: Callable[[Score], float | None], digits: int) -> str:
    """The mean over all CTs; empty where one lacks the figure: it would be of fewer CTs than stands beside it."""
    values = [figure(score) for score in scores]
    numbers = [value for value in values if value is not None]
    if not numbers or len(numbers) < len(values):
        return ""
    return f"{sum(numbers) / len(numbers):.{digits}f}"


def _number(score: Score, key: str, digits: int) -> str:
    value = score.get(key)
    if not isinstance(value, float):
        return ""
    return f"{value:.{digits}f}"
