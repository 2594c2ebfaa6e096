"""Box plots as SVG: a structure a line, every case a dot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..html_document import text

# Pixels: height of a line, margins and width of the plot. Names of organs stand to the left.
_ROW, _LEFT, _WIDTH, _RIGHT, _TOP = 24, 170, 560, 20, 26
_COLOURS = ("#2a6f97", "#d9822b")


@dataclass(frozen=True)
class Boxes:
    """One structure: the values of each model, with the names of their cases for the tooltips."""

    title: str
    values: tuple[tuple[tuple[str, float], ...], ...]


def box_plot(boxes: Sequence[Boxes], unit: str, highest: float | None = None) -> str:
    """SVG. Box: quartiles and median; whiskers: the furthest values within 1.5 box lengths (Tukey); dots: all values.

    The axis runs from 0 to `highest`, or to a round number above the largest value.
    """
    numbers: list[float] = []
    for box in boxes:
        for model_values in box.values:
            numbers += [value for _, value in model_values]
    if not numbers:
        return "<p>nothing was measured</p>"
    step = _step(highest or max(numbers))
    limit = highest or step * max(1, int(np.ceil(max(numbers) / step)))
    models = max(len(box.values) for box in boxes)
    height = _TOP + len(boxes) * models * _ROW + 10

    def x(value: float) -> float:
        return _LEFT + _WIDTH * value / limit

    # Without a width of its own the picture is as wide as the page.
    parts = [f'<svg viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}" role="img" aria-label="box plot, {text(unit)}">']
    for tick in np.arange(0, limit + step / 2, step):
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP - 4}" y2="{height - 6}"/>'
                     f'<text x="{x(tick):.1f}" y="14" text-anchor="middle">{tick:g}</text>')
    for place, box in enumerate(boxes):
        top = _TOP + place * models * _ROW
        parts.append(f'<text x="{_LEFT - 10}" y="{top + models * _ROW / 2 + 4:.1f}" text-anchor="end">'
                     f'{text(box.title)}</text>')
        for model, values in enumerate(box.values):
            if values:
                parts.append(_box(values, top + (model + 0.5) * _ROW, _COLOURS[model], x))
    return "".join(parts) + "</svg>"


def colour_key(names: Sequence[str]) -> str:
    """Which model has which colour, as HTML; nothing for one model."""
    if len(names) < 2:
        return ""
    keys = [f'<span class="key" style="background:{colour}"></span>{text(name)}'
            for name, colour in zip(names, _COLOURS, strict=False)]
    return "<p>" + " ".join(keys) + "</p>"


def _box(values: Sequence[tuple[str, float]], y: float, colour: str, x: Callable[[float], float]) -> str:
    numbers = np.array([value for _, value in values])
    low, middle, high = np.percentile(numbers, [25, 50, 75])
    reach = 1.5 * (high - low)
    # Of few values the furthest within reach may lie inside the box: then there is no whisker on that side.
    first = min(numbers[numbers >= low - reach].min(), low)
    last = max(numbers[numbers <= high + reach].max(), high)
    dots = "".join(f'<circle cx="{x(value):.1f}" cy="{y:.1f}" r="2.4"><title>{text(case)}: {value:.1f}</title>'
                   "</circle>" for case, value in values)
    return (f'<g fill="{colour}" stroke="{colour}">'
            f'<line x1="{x(first):.1f}" x2="{x(low):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<line x1="{x(high):.1f}" x2="{x(last):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<rect x="{x(low):.1f}" y="{y - 7:.1f}" width="{max(x(high) - x(low), 0.5):.1f}" height="14" '
            'fill-opacity="0.2"/>'
            f'<line class="median" x1="{x(middle):.1f}" x2="{x(middle):.1f}" y1="{y - 7:.1f}" y2="{y + 7:.1f}"/>'
            f"{dots}</g>")


def _step(largest: float) -> float:
    """A round distance of ticks that makes at most about eight of them."""
    rough = max(largest, 1e-6) / 6
    power = 10 ** np.floor(np.log10(rough))
    return float(power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough))
