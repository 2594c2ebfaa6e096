"""Strokes and outlines drawn on slices: polylines in patient coordinates, kept as JSON, painted onto a CT's grid.

The file says who drew them and on which image. Each stroke lies in one slice of the image:
`{"organ": "colon", "width_mm": 4.0, "closed": false, "points": [[x, y, z], ...]}` with points in LPS millimetres. An
open stroke paints a band of `width_mm`; a closed one paints the area inside its outline. "background" is a legal organ.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..atomic import whole_file
from ..errors import Code, UserError
from ..imaging.shapes import Coordinates, Mask
from ..imaging.volume import Grid, Volume
from ..json_file import read_json
from ..organs import LabelSpace

NOT_DRAWN = 255
FORMAT_NAME = "partialorganseg-strokes"


_MOST_POINTS = 20_000  # of one stroke: a mouse that is drawn around all organs of a slice leaves some hundred
_MOST_STROKES = 100_000
_OVERHANG = 1.0  # of the width of the image: an outline may run over its rim, but not to another place


class Stroke(BaseModel):
    """One stroke: points (x, y, z) in LPS mm, all in one slice."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    organ: str
    points: list[tuple[float, float, float]] = Field(min_length=1, max_length=_MOST_POINTS)
    width_mm: float = Field(default=3.0, gt=0, le=50)
    closed: bool = False


class Strokes(BaseModel):
    """All strokes of one image, with their origin."""

    model_config = ConfigDict(extra="forbid")
    format: str = Field(default=FORMAT_NAME, pattern=f"^{FORMAT_NAME}$")
    version: int = Field(default=1, ge=1, le=1)
    image: str
    drawn_by: str
    licence: str
    label_space: str = "word16"
    coordinates: str = Field(default="LPS", pattern="^LPS$")
    unit: str = Field(default="mm", pattern="^mm$")
    strokes: list[Stroke] = Field(default=[], max_length=_MOST_STROKES)


def read_strokes(path: Path | str) -> Strokes:
    """Reads a stroke file. Raises UserError naming the file and the first bad field."""
    path = Path(path)
    try:
        return Strokes.model_validate(read_json(path, "JSON"))
    except FileNotFoundError:
        raise UserError(code=Code.FILE_MISSING, subject=path, found="stroke file expected, none found") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(code=Code.WRONG_FORMAT, subject=f"{path}: {'.'.join(map(str, first['loc']))}",
                        found=first["msg"]) from None


def write_strokes(path: Path | str, strokes: Strokes) -> None:
    """Writes a stroke file whole, points rounded to 0.01 mm."""
    content = strokes.model_dump()
    for stroke in content["strokes"]:
        stroke["points"] = [[round(c, 2) for c in point] for point in stroke["points"]]
    lines = ",\n".join("  " + json.dumps(stroke, ensure_ascii=False) for stroke in content.pop("strokes"))
    head = json.dumps(content, ensure_ascii=False)[:-1]
    with whole_file(path) as temporary:
        temporary.write_text(f'{head}, "strokes": [\n{lines}\n]}}\n', encoding="utf-8")


def paint_strokes(strokes: Strokes, grid: Grid, label_space: LabelSpace) -> Volume:
    """Scribble map (z, y, x) uint8 on `grid`: organ indices, 0 for background strokes, 255 where nothing is drawn.

    A stroke belongs to the slice nearest to its points along the grid's slowest axis; later strokes win.
    Raises UserError for an unknown organ or a stroke outside the grid or across its slices.
    """
    painted = np.full(grid.shape, NOT_DRAWN, np.uint8)
    to_voxel = np.linalg.inv(grid.matrix)
    # In the order of the file, so that what was drawn last is on top.
    for number, stroke in enumerate(strokes.strokes):
        points = np.c_[np.asarray(stroke.points), np.ones(len(stroke.points))] @ to_voxel.T
        k = round(float(points[:, 2].clip(-1, grid.size[2]).mean()))
        overhang = _OVERHANG * np.asarray(grid.size[:2])
        inside = (points[:, :2] >= -overhang) & (points[:, :2] <= np.asarray(grid.size[:2]) - 1 + overhang)
        if not 0 <= k < grid.size[2] or not inside.all():
            raise UserError(code=Code.GEOMETRY_DIFFERS, subject=f"strokes of {strokes.image}",
                            found=f"stroke {number} ({stroke.organ}) lies outside the image")
        # Points were rounded to 0.01 mm, and a viewer may place them anywhere within the slice's thickness.
        if np.ptp(points[:, 2]) > 1:
            raise UserError(code=Code.VALUE_UNFIT,
                            subject=f"strokes of {strokes.image}: stroke {number} ({stroke.organ})",
                            expected="all points in one slice of the image",
                            found=f"them across {np.ptp(points[:, 2]):.1f} slices")
        painted[k][_area(points[:, :2], stroke, grid)] = label_space.index(stroke.organ)
    return Volume(painted, grid)


def _area(points: Coordinates, stroke: Stroke, grid: Grid) -> Mask:
    """(y, x) bool: pixels whose centre a stroke covers; `points` are (n, 2) pixel coordinates (x, y)."""
    canvas = Image.new("1", grid.size[:2])
    if stroke.closed and len(points) >= 3:
        ImageDraw.Draw(canvas).polygon([(x, y) for x, y in points.tolist()], fill=1)
        return np.asarray(canvas)
    scale = np.asarray(grid.spacing[:2])
    radius = stroke.width_mm / 2
    columns, rows = np.meshgrid(np.arange(grid.size[0]), np.arange(grid.size[1]))
    centres = np.stack([columns, rows], -1) * scale
    covered = np.zeros(grid.shape[1:], np.bool_)
    ends = points * scale
    # The last point is followed by itself, which paints a stroke of one point as a disc.
    for start, end in zip(ends, np.r_[ends[1:], ends[-1:]], strict=True):
        # Only pixels near to the line are looked at, so that many points of one stroke do not take minutes.
        low = np.maximum(np.floor((np.minimum(start, end) - radius) / scale).astype(int), 0)
        high = np.ceil((np.maximum(start, end) + radius) / scale).astype(int) + 1
        box = np.s_[low[1]:max(high[1], low[1]), low[0]:max(high[0], low[0])]
        pixels = centres[box]
        along = end - start
        squared_length = float(along @ along)
        share = np.zeros(pixels.shape[:2])  # of the way from start to end, where a pixel is nearest to the line
        if squared_length:
            share = np.clip(((pixels - start) @ along) / squared_length, 0, 1)
        distance = np.linalg.norm(pixels - start - share[..., None] * along, axis=-1)
        covered[box] |= distance <= radius
    return covered
