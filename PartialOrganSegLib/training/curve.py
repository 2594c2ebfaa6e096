"""The curve of a run as a picture: the loss step by step, and Dice where it was measured on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..formats.writing import output_file

CURVE_FILE, LOG_FILE = "curve.png", "log.jsonl"
_SIZE, _LEFT, _TOP, _BOTTOM, _RIGHT = (900, 420), 64, 34, 46, 64
_INK, _GRID, _PAPER = (29, 39, 48), (221, 227, 232), (255, 255, 255)
_LOSS, _MEAN = (150, 160, 170), (42, 111, 151)
_COLOURS = ((217, 130, 43), (76, 146, 78), (146, 84, 158), (192, 57, 43), (22, 138, 138), (120, 100, 60))
_MOST_ORGANS = len(_COLOURS)


@dataclass(frozen=True)
class Curve:
    """`losses` and `dice` (mean, and by organ): lists of (step, value)."""

    losses: list[tuple[int, float]]
    dice: Mapping[str, list[tuple[int, float]]]

    @property
    def has_points(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.losses or self.dice)


def read_curve(run: Path) -> Curve:
    """The figures of a run's log; empty ones where there is no log yet. A line that was cut off is left out."""
    losses: list[tuple[int, float]] = []
    dice: dict[str, list[tuple[int, float]]] = {}
    log = run / LOG_FILE
    if not log.is_file():
        return Curve(losses, dice)
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
            step = int(values["step"])
        except (ValueError, KeyError, TypeError):
            continue
        for name, value in values.items():
            if not isinstance(value, (int, float)) or not np.isfinite(value):
                continue
            if name == "loss":
                losses.append((step, float(value)))
            elif name.startswith("dice_"):
                dice.setdefault(name.removeprefix("dice_"), []).append((step, float(value)))
    return Curve(losses, dice)


def write_curve(run: Path, organs: Sequence[str] = (), target: Path | None = None) -> Path | None:
    """Writes RUN/curve.png (or `target`), with the Dice of up to six of the `organs` beside the mean; None where the
    log has no figures. Raises UserError when it cannot be written."""
    curve = read_curve(run)
    if not curve.has_points:
        return None
    target = target or run / CURVE_FILE
    with output_file(target) as temporary:
        draw_curve(curve, organs).save(temporary, format="PNG")
    return target


def draw_curve(curve: Curve, organs: Sequence[str] = ()) -> Image.Image:
    """RGB. The loss has the axis on the right, Dice that on the left, from 0 to 1."""
    picture = Image.new("RGB", _SIZE, _PAPER)
    draw = ImageDraw.Draw(picture)
    steps = [step for step, _ in curve.losses]
    for points in curve.dice.values():
        steps += [step for step, _ in points]
    last = max([1, *steps])
    highest = max([1e-6, *(loss for _, loss in curve.losses)])
    _axes(draw, last, highest)
    _line(draw, curve.losses, last, highest, _LOSS, dots=False)
    lines = [("mean Dice", curve.dice.get("mean", []), _MEAN)]
    shown = [name for name in organs if name in curve.dice][:_MOST_ORGANS]
    for name, colour in zip(shown, _COLOURS, strict=False):
        lines.append((name.replace("_", " "), curve.dice[name], colour))
    x = _LEFT
    for name, points, colour in [("loss", curve.losses, _LOSS), *lines]:
        if points:
            draw.rectangle((x, 10, x + 12, 22), fill=colour)
            draw.text((x + 17, 16), name, fill=_INK, font=_font(), anchor="lm")
            x += 34 + round(draw.textlength(name, font=_font()))
    for _, points, colour in lines:
        _line(draw, points, last, 1.0, colour, dots=True)
    return picture


def _axes(draw: ImageDraw.ImageDraw, last: int, highest: float) -> None:
    for number in range(6):
        _, y = _place(0, number / 5, 1, 1.0)
        draw.line((_LEFT, y, _SIZE[0] - _RIGHT, y), fill=_GRID)
        draw.text((_LEFT - 8, y), f"{number / 5:.1f}", fill=_INK, font=_font(), anchor="rm")
        draw.text((_SIZE[0] - _RIGHT + 8, y), f"{highest * number / 5:.2g}", fill=_LOSS, font=_font(), anchor="lm")
        x, _ = _place(number / 5, 0.0, 1, 1.0)
        draw.text((x, _SIZE[1] - _BOTTOM + 8), f"{round(last * number / 5)}", fill=_INK, font=_font(), anchor="mt")
    draw.text(((_LEFT + _SIZE[0] - _RIGHT) / 2, _SIZE[1] - 6), "step", fill=_INK, font=_font(), anchor="mb")


def _line(draw: ImageDraw.ImageDraw, points: Sequence[tuple[int, float]], last: int, highest: float,
          colour: tuple[int, int, int], dots: bool) -> None:
    places = [_place(step, value, last, highest) for step, value in points]
    if len(places) > 1:
        draw.line(places, fill=colour, width=2)
    for x, y in places:
        if dots or len(places) == 1:
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour)


def _place(step: float, value: float, last: float, highest: float) -> tuple[float, float]:
    """Pixels of a point in the picture."""
    width, height = _SIZE[0] - _LEFT - _RIGHT, _SIZE[1] - _TOP - _BOTTOM
    return _LEFT + width * step / last, _TOP + height * (1 - min(max(value / highest, 0.0), 1.0))


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(13)
