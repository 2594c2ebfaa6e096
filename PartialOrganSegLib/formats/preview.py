"""A picture of a result: three planes of the CT with the organs' outlines, and a legend with volumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from ..imaging.components import voxel_counts
from ..imaging.shapes import Box3, LabelMap, VoxelArray
from ..imaging.volume import Volume
from ..organs import LabelSpace, Organ
from .writing import output_file

_WINDOW_HU = (-160.0, 240.0)  # soft tissue: level 40, width 400
_BODY_HU = -300
_MARGIN_MM = 12.0
_COARSE_MM = 4.0
_TALLEST_MM = 700.0  # of a whole-body scan only the part around the organs is shown
_PANELS_WIDTH = 1560  # pixels that the three planes share
_LARGEST_SCALE = 3.0  # pixels a millimetre
_LINE = 2  # pixels of an outline
_FINE = 2  # outlines are drawn this much finer and scaled down, which smooths their steps
_GAP, _ROW, _CELL = 14, 26, 270
_INK, _DIM, _PAPER = (235, 235, 235), (150, 155, 160), (16, 18, 20)


@dataclass(frozen=True)
class _Plane:
    """One slice, rows downwards: HU, labels, pixel size (row, column) in mm, letters left, right, top, bottom."""

    title: str
    ct: VoxelArray
    labels: LabelMap
    pixel_mm: tuple[float, float]
    letters: tuple[str, str, str, str]

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height and width."""
        return self.ct.shape[0] * self.pixel_mm[0], self.ct.shape[1] * self.pixel_mm[1]


def write_preview(path: Path | str, ct: Volume, labels: Volume, label_space: LabelSpace) -> None:
    """Writes `preview_picture` as a PNG. Raises UserError when it cannot be written."""
    picture = preview_picture(ct, labels, label_space)
    with output_file(path) as temporary:
        picture.save(temporary, format="PNG")


def preview_picture(ct: Volume, labels: Volume, label_space: LabelSpace) -> Image.Image:
    """An RGB picture of the axial, coronal and sagittal slice that show most organs, all at one scale.

    Axial and coronal slices are seen from the feet and from the front: the patient's right is on the left. Slices
    run along the voxel axes, so a tilted scan is shown in its own frame.
    """
    if ct.array.shape != labels.array.shape:
        raise ValueError(f"CT {ct.array.shape} and labels {labels.array.shape} must lie on one grid")
    counts = voxel_counts(labels.array, label_space.class_count)
    volumes_ml = [(organ, float(counts[organ.index]) * labels.grid.voxel_ml) for organ in label_space.organs
                  if counts[organ.index]]
    # Patient axes, so that the letters at the edges are right for every orientation of the file.
    planes = _planes(ct.canonical(), labels.canonical())
    across = sum(plane.size_mm[1] for plane in planes)
    scale = min(_PANELS_WIDTH / across, _LARGEST_SCALE)
    pictures = [_picture(plane, label_space, scale) for plane in planes]
    return _page(pictures, volumes_ml)


def _planes(ct: Volume, labels: Volume) -> list[_Plane]:
    """The three slices of a volume whose axes run to superior, posterior and left, cropped to the body."""
    box = _body_box(ct, labels)
    ct_array, label_array = ct.array[box], labels.array[box]
    z, y, x = _most_informative(label_array)
    dx, dy, dz = ct.grid.spacing
    first = [part.start for part in box[::-1]]
    place = (ct.grid.matrix @ [x + first[0], y + first[1], z + first[2], 1])[:3]
    up = slice(None, None, -1)  # arrays begin at the feet, pictures at the top
    return [
        _Plane(f"axial   {_side(place[2], 'SI')}", ct_array[z], label_array[z], (dy, dx),
               ("R", "L", "A", "P")),
        _Plane(f"coronal   {_side(place[1], 'PA')}", ct_array[up, y], label_array[up, y], (dz, dx),
               ("R", "L", "S", "I")),
        _Plane(f"sagittal   {_side(place[0], 'LR')}", ct_array[up, :, x], label_array[up, :, x], (dz, dy),
               ("A", "P", "S", "I")),
    ]


def _side(millimetres: float, letters: str) -> str:
    """An LPS coordinate as doctors say it: `_side(-30, "LR")` is "R 30 mm"."""
    letter = letters[0] if millimetres >= 0 else letters[1]
    return f"{letter} {abs(millimetres):.0f} mm"


def _body_box(ct: Volume, labels: Volume) -> Box3:
    """Where the body is, with a margin; everything when nothing looks like a body."""
    height = ct.array.shape[0]
    shown = min(height, max(2, round(_TALLEST_MM / ct.grid.spacing[2])))
    organs = np.flatnonzero(labels.array.any(axis=(1, 2)))
    centre = height // 2
    if organs.size:
        centre = int(organs[0] + organs[-1]) // 2
    lowest = min(max(0, centre - shown // 2), height - shown)
    rows = slice(lowest, lowest + shown)
    # Coarse is enough to frame the body, and fast.
    steps = [max(1, round(_COARSE_MM / mm)) for mm in ct.grid.spacing[::-1]]
    parts, count = ndimage.label(ct.array[tuple(slice(None, None, step) for step in steps)] > _BODY_HU)
    if not count:
        return rows, slice(0, ct.array.shape[1]), slice(0, ct.array.shape[2])
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    coarse = ndimage.find_objects(parts, max_label=largest)[largest - 1]
    in_plane = []
    for axis in (1, 2):
        margin = round(_MARGIN_MM / ct.grid.spacing[2 - axis])
        in_plane.append(slice(max(0, coarse[axis].start * steps[axis] - margin),
                              min(ct.array.shape[axis], coarse[axis].stop * steps[axis] + margin)))
    return rows, in_plane[0], in_plane[1]


def _most_informative(labels: LabelMap) -> tuple[int, int, int]:
    """For each axis the slice with the most organs near their largest section; the middle when there is none."""
    scores = [np.zeros(n) for n in labels.shape]
    for index, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        organ = labels[box] == index
        for axis, score in enumerate(scores):
            across = tuple({0, 1, 2} - {axis})
            area = organ.sum(axis=across, dtype=np.int64)
            # The root makes a section of half the largest area count more than half.
            score[box[axis]] += np.sqrt(area / area.max())
    z, y, x = (_best(score) for score in scores)
    return z, y, x


def _best(score: npt.NDArray[np.float64]) -> int:
    return int(np.argmax(score)) if score.any() else len(score) // 2


def _picture(plane: _Plane, label_space: LabelSpace, scale: float) -> Image.Image:
    """One plane as an RGB image with outlines, letters and title."""
    height, width = (max(1, round(mm * scale)) for mm in plane.size_mm)
    low, high = _WINDOW_HU
    grey = np.clip((plane.ct.astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    image = Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC).convert("RGB")
    # Organs are drawn after the CT is enlarged, or their lines would be as coarse as its voxels.
    colours, opacity = _outlines(plane.labels, label_space, (width * _FINE, height * _FINE))
    image = Image.composite(colours.resize((width, height), Image.Resampling.BOX), image,
                            opacity.resize((width, height), Image.Resampling.BOX))
    draw = ImageDraw.Draw(image)
    # Left, right, top and bottom, as `letters` are; anchors are Pillow's.
    edges = [(8, height // 2, "lm"), (width - 8, height // 2, "rm"), (width // 2, 6, "mt"),
             (width // 2, height - 6, "mb")]
    for letter, (x, y, anchor) in zip(plane.letters, edges, strict=True):
        _write(draw, (x, y), letter, 18, anchor)
    _write(draw, (8, 6), plane.title, 14, "lt")
    _scale_bar(draw, width, height, scale)
    return image


def _outlines(labels: LabelMap, label_space: LabelSpace, size: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    """Organ colours (RGB) and where the outlines are (L), both of `size` (width, height).

    Every organ's mask is interpolated and the strongest wins, so that lines follow voxels without ragged corners.
    """
    best = np.full(size[::-1], 127, np.uint8)  # an organ must hold more than half of a pixel
    winner = np.zeros(size[::-1], np.uint8)
    for index in np.unique(labels[labels > 0]):
        mask = Image.fromarray(np.where(labels == index, np.uint8(255), np.uint8(0)))
        strength = np.asarray(mask.resize(size, Image.Resampling.BILINEAR))
        stronger = strength > best
        best[stronger], winner[stronger] = strength[stronger], index
    colours = np.zeros((*size[::-1], 3), np.uint8)
    line = np.zeros(size[::-1], bool)
    ball = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), _LINE * _FINE)
    rim = _LINE * _FINE
    for organ, box in zip(label_space.organs, ndimage.find_objects(winner, label_space.class_count - 1), strict=True):
        if box is None:
            continue
        around = tuple(slice(max(0, part.start - rim), part.stop + rim) for part in box)
        inside = winner[around] == organ.index
        # The colour covers the region and a rim, so that scaling down mixes no black into the line.
        covered = ndimage.binary_dilation(inside, iterations=_FINE) & (winner[around] == 0) | inside
        colours[around][covered] = organ.colour
        line[around] |= inside & ~ndimage.binary_erosion(inside, ball, border_value=1)
    return Image.fromarray(colours), Image.fromarray(np.where(line, np.uint8(255), np.uint8(0)))


def _page(pictures: list[Image.Image], volumes_ml: list[tuple[Organ, float]]) -> Image.Image:
    """The planes side by side; the legend under the axial slice where there is room, otherwise below all."""
    axial, tallest = pictures[0], max(picture.height for picture in pictures)
    width = max(sum(picture.width for picture in pictures) + _GAP * (len(pictures) + 1), _CELL + 2 * _GAP)
    legend = _legend(volumes_ml, axial.width)
    if axial.width >= _CELL and tallest - axial.height - _GAP >= legend.height:
        legend_top, height = 2 * _GAP + axial.height, 2 * _GAP + tallest
    else:
        legend = _legend(volumes_ml, width - 2 * _GAP)
        legend_top, height = 2 * _GAP + tallest, 3 * _GAP + tallest + legend.height
    page = Image.new("RGB", (width, height), _PAPER)
    x = _GAP
    for picture in pictures:
        page.paste(picture, (x, _GAP))
        x += picture.width + _GAP
    page.paste(legend, (_GAP, legend_top))
    return page


def _legend(volumes_ml: list[tuple[Organ, float]], width: int) -> Image.Image:
    columns = max(1, width // _CELL)
    rows = max(1, -(-len(volumes_ml) // columns))  # rounded up
    legend = Image.new("RGB", (width, rows * _ROW), _PAPER)
    draw = ImageDraw.Draw(legend)
    if not volumes_ml:
        draw.text((0, _ROW // 2), "no organ found", fill=_DIM, font=_font(16), anchor="lm")
    for number, (organ, millilitres) in enumerate(volumes_ml):
        x, middle = number // rows * _CELL, number % rows * _ROW + _ROW // 2
        draw.rounded_rectangle((x, middle - 7, x + 14, middle + 7), 3, fill=organ.colour)
        draw.text((x + 22, middle), organ.title, fill=_INK, font=_font(16), anchor="lm")
        amount = f"{millilitres:.0f} ml" if millilitres >= 10 else f"{millilitres:.1f} ml"
        draw.text((x + _CELL - 24, middle), amount, fill=_DIM, font=_font(16), anchor="rm")
    return legend


def _scale_bar(draw: ImageDraw.ImageDraw, width: int, height: int, scale: float) -> None:
    """A bar of 5 cm in the lower right corner."""
    right, bottom = width - 10, height - 10
    draw.rectangle((right - round(50 * scale), bottom - 2, right, bottom), fill=_INK, outline=(0, 0, 0))
    _write(draw, (right, bottom - 8), "5 cm", 12, "rb")


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, anchor: str) -> None:
    draw.text(at, text, fill=_INK, font=_font(size), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
