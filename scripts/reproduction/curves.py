"""Learning curves of a table's rows as a picture, and KL(q, pbar) of those with a prior."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from PartialOrganSegLib.atomic import whole_file

GREY, INK = (225, 225, 225), (30, 30, 30)
COLOURS = ((31, 110, 180), (210, 105, 30), (60, 140, 60), (170, 50, 60), (120, 90, 170), (120, 80, 60), (90, 90, 90),
           (170, 150, 30))
LEFT, WIDTH, HEIGHT, TOP, GAP, RIGHT, LINE = 70, 560, 220, 44, 60, 330, 20  # pixels

Curve = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Panel:
    """`title` says what is drawn; `curves`: by the row's title, those of its seeds."""

    title: str
    curves: Mapping[str, Sequence[Curve]]


def draw_curves(path: Path, panels: Sequence[Panel]) -> None:
    """Writes the PNG: panels one above the other, a row a colour, the mean over its seeds. Values on a log scale,
    as losses of different methods lie far apart."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.curves))
    height = TOP + max(len(panels) * (HEIGHT + GAP), LINE * (len(names) + 1))
    image = Image.new("RGB", (LEFT + WIDTH + RIGHT, height), "white")
    draw = ImageDraw.Draw(image)
    font, small = ImageFont.load_default(16), ImageFont.load_default(13)
    for number, name in enumerate(names):
        y = TOP + LINE * number
        draw.line((LEFT + WIDTH + 20, y + 8, LEFT + WIDTH + 44, y + 8), colour_of(number), 3)
        draw.text((LEFT + WIDTH + 52, y), name, INK, small)
    for number, panel in enumerate(panels):
        top = TOP + number * (HEIGHT + GAP)
        draw.text((LEFT, top - 28), panel.title, INK, font)
        _draw_panel(draw, top, panel, names, small)
    with whole_file(path) as temporary:
        image.save(temporary, format="PNG", optimize=True)


def _draw_panel(draw: ImageDraw.ImageDraw, top: int, panel: Panel, names: Sequence[str],
                font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> None:
    means = {name: mean_curve(curves) for name, curves in panel.curves.items()}
    steps = [step for curve in means.values() for step, _ in curve]
    # A value of zero or below has no place on the scale (a loss with a negative term, a prior that is met).
    values = [value for curve in means.values() for _, value in curve if value > 0]
    if not values:
        return
    low, high = math.log10(min(values)), math.log10(max(values))
    span = max(high - low, 1e-6)
    last = max(steps)

    def place(step: int, value: float) -> tuple[float, float]:
        return LEFT + WIDTH * step / last, top + HEIGHT * (high - math.log10(value)) / span

    for part in range(5):
        value = 10 ** (low + span * part / 4)
        _, y = place(0, value)
        draw.line((LEFT, y, LEFT + WIDTH, y), GREY)
        draw.text((LEFT - 8, y), f"{value:.2g}", INK, font, anchor="rm")
    for step in (0, last // 2, last):
        draw.text((place(step, values[0])[0], top + HEIGHT + 6), str(step), INK, font, anchor="ma")
    for name, curve in means.items():
        points = [place(step, value) for step, value in curve if value > 0]
        if len(points) > 1:
            draw.line(points, colour_of(names.index(name)), 2, joint="curve")


def colour_of(number: int) -> tuple[int, int, int]:
    """A colour for each row: those of COLOURS, then the same paler, then darker."""
    rounds, place = divmod(number, len(COLOURS))
    toward, share = ((255, 0.0), (255, 0.5), (0, 0.45))[rounds % 3]
    red, green, blue = (round(part + share * (toward - part)) for part in COLOURS[place])
    return red, green, blue


def mean_curve(curves: Sequence[Curve]) -> list[tuple[int, float]]:
    """The mean over seeds at the steps that all of them have."""
    values: dict[int, list[float]] = {}
    for curve in curves:
        for step, value in curve:
            values.setdefault(step, []).append(value)
    return [(step, float(np.mean(seeds))) for step, seeds in sorted(values.items()) if len(seeds) == len(curves)]
