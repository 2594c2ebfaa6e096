"""A table as a picture: a row a line, our mean Dice with its spread over seeds, and the paper's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from PartialOrganSegLib.atomic import whole_file

OURS, PAPERS, GREY, INK = (31, 110, 180), (210, 105, 30), (225, 225, 225), (30, 30, 30)
LINE, LEFT, PLOT, TOP, BOTTOM, RIGHT = 34, 300, 620, 84, 46, 40  # pixels


@dataclass(frozen=True)
class Bar:
    """A line of the chart. `seeds`: the mean Dice of each seed; empty where the row was not run."""

    title: str
    seeds: Sequence[float]
    published: float | None


def draw_chart(path: Path, title: str, bars: Sequence[Bar]) -> None:
    """Writes the PNG: every seed a dot, their mean a line, the paper's figure a diamond."""
    values: list[float] = []
    for bar in bars:
        values += bar.seeds
        if bar.published is not None:
            values.append(bar.published)
    # From tenth to tenth, so that the axis has round numbers and no dot sits on its border.
    low = math.floor(min(values) * 10) / 10
    high = min(1.0, math.ceil(max(values) * 10) / 10)
    font, small = ImageFont.load_default(17), ImageFont.load_default(14)
    # The longest title fits, 12 pixels from the plot and 16 from the border.
    left = max(LEFT, *(math.ceil(small.getlength(bar.title)) + 28 for bar in bars))
    width, height = left + PLOT + RIGHT, TOP + LINE * len(bars) + BOTTOM
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)

    def across(value: float) -> float:
        return left + PLOT * (value - low) / max(high - low, 0.1)

    draw.text((16, 12), title, INK, font)
    draw.ellipse((16, 47, 26, 57), OURS)
    draw.text((34, 43), "ours, a dot a seed, line at the mean", INK, small)
    if any(bar.published is not None for bar in bars):
        _diamond(draw, LEFT + 6, 52, PAPERS)
        draw.text((LEFT + 18, 43), "the paper's, on its own data", INK, small)
    end = TOP + LINE * len(bars)
    for tenth in range(round(low * 10), round(high * 10) + 1):
        x = across(tenth / 10)
        draw.line((x, TOP - 6, x, end), GREY)
        draw.text((x, end + 6), f"{tenth / 10:.1f}", INK, small, anchor="ma")
    draw.text((left + PLOT / 2, end + 24), "mean Dice", INK, small, anchor="ma")
    for number, bar in enumerate(bars):
        y = TOP + LINE * (number + 0.5)
        draw.text((left - 12, y), bar.title, INK, small, anchor="rm")
        if bar.seeds:
            mean = across(sum(bar.seeds) / len(bar.seeds))
            draw.line((across(min(bar.seeds)), y, across(max(bar.seeds)), y), OURS, 2)
            draw.line((mean, y - 9, mean, y + 9), OURS, 3)
        for value in bar.seeds:
            draw.ellipse((across(value) - 4, y - 4, across(value) + 4, y + 4), OURS)
        if bar.published is not None:
            _diamond(draw, across(bar.published), y, PAPERS)
    with whole_file(path) as temporary:
        image.save(temporary, format="PNG", optimize=True)


def _diamond(draw: ImageDraw.ImageDraw, x: float, y: float, colour: tuple[int, int, int]) -> None:
    draw.polygon([(x - 6, y), (x, y - 6), (x + 6, y), (x, y + 6)], colour)
