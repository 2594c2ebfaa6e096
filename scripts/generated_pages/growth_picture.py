"""How time and memory grow, as a picture (SVG): points on logarithmic axes, and the power laws fitted to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

WIDTH, HEIGHT, MARGIN, GAP = 380, 250, 56, 26
SERIES = {"processor_s": ("processor seconds", "#1f6fb2"), "mib": ("peak MiB", "#b2541f")}
TITLES = {"voxels": "voxels of the CT", "classes": "organs of the model", "cts": "CTs of a run"}


def exponent(rows: Sequence[dict[str, Any]], column: str) -> float:
    """The power of the amount that fits the points best in the logarithm.

    >>> round(exponent([{"amount": n, "mib": 5 * n ** 0.5} for n in (1, 10, 100)], "mib"), 3)
    0.5
    """
    amounts = np.log([row["amount"] for row in rows])
    return float(np.polyfit(amounts, np.log([row[column] for row in rows]), 1)[0])


def picture(rows: Sequence[dict[str, Any]]) -> str:
    """A panel for each of `over` in the rows, with a line for each of `SERIES`."""
    panels = []
    # One point has no power.
    kinds = [over for over in TITLES if sum(row["over"] == over for row in rows) > 1]
    for number, over in enumerate(kinds):
        of_kind = sorted((row for row in rows if row["over"] == over), key=lambda row: row["amount"])
        panels.append(_panel(of_kind, TITLES[over], number * (WIDTH + GAP)))
    width = len(kinds) * (WIDTH + GAP)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT + 40}" font-family="sans-serif" '
            f'font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(panels)}</svg>\n')


def _panel(rows: Sequence[dict[str, Any]], title: str, left: int) -> str:
    amounts = [row["amount"] for row in rows]
    values = [row[column] for row in rows for column in SERIES]
    x_ends, y_ends = _decades(amounts), _decades(values)

    def place(amount: float, value: float) -> tuple[float, float]:
        x = (math.log10(amount) - x_ends[0]) / (x_ends[1] - x_ends[0])
        y = (math.log10(value) - y_ends[0]) / (y_ends[1] - y_ends[0])
        return left + MARGIN + x * (WIDTH - MARGIN), HEIGHT - y * (HEIGHT - 50)

    parts = [_text(left + MARGIN + (WIDTH - MARGIN) / 2, HEIGHT + 34, title, "middle")]
    for power in range(x_ends[0], x_ends[1] + 1):
        x, y = place(10 ** power, 10 ** y_ends[0])
        parts.append(f'<path d="M{x:.0f} {y:.0f}V50" stroke="#ddd"/>' + _text(x, HEIGHT + 16, _tens(power), "middle"))
    for power in range(y_ends[0], y_ends[1] + 1):
        x, y = place(10 ** x_ends[0], 10 ** power)
        parts.append(f'<path d="M{x:.0f} {y:.0f}h{WIDTH - MARGIN}" stroke="#ddd"/>'
                     + _text(x - 6, y + 4, _tens(power), "end"))
    for number, (column, (name, colour)) in enumerate(SERIES.items()):
        points = [place(row["amount"], row[column]) for row in rows]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        parts.append(_text(left + MARGIN, 16 + 16 * number, f"{name}: power {exponent(rows, column):.2f}", "start",
                           colour))
    return "".join(parts)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Powers of ten that hold the values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _tens(power: int) -> str:
    return f"1e{power}" if power > 3 else f"{10 ** power:g}"


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#333") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'
