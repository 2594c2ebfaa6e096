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
from ..organs import LabelSpace

NOT_DRAWN = 255
FORMAT_NAME = "partialorganseg-strokes"


class Stroke(BaseModel):
    """One stroke: points (x, y, z) in LPS mm, all in one slice."""

    model_config = ConfigDict(extra="forbid")
    organ: str
    points: list[tuple[float, float, float]] = Field(min_length=1)
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
    strokes: list[Stroke] = []


def read_strokes(path: Path | str) -> Strokes:
    """Reads a stroke file. Raises UserError naming the file and the first bad field."""
    path = Path(path)
    try:
        return Strokes.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(code=Code.FILE_MISSING, subject=path, found="stroke file expected, none found") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="JSON", found=error) from None
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
        k = round(float(points[:, 2].mean()))
        if not 0 <= k < grid.size[2]:
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
    columns, rows = np.meshgrid(np.arange(grid.size[0]), np.arange(grid.size[1]))
    scale = np.asarray(grid.spacing[:2])
    pixels = np.stack([columns, rows], -1) * scale
    distance = np.full(grid.shape[1:], np.inf)
    ends = points * scale
    # The last point is followed by itself, which paints a stroke of one point as a disc.
    for start, end in zip(ends, np.r_[ends[1:], ends[-1:]], strict=True):
        along = end - start
        squared_length = float(along @ along)
        share = np.zeros(distance.shape)  # of the way from start to end, where a pixel is nearest to the line
        if squared_length:
            share = np.clip(((pixels - start) @ along) / squared_length, 0, 1)
        distance = np.minimum(distance, np.linalg.norm(pixels - start - share[..., None] * along, axis=-1))
    return distance <= stroke.width_mm / 2
