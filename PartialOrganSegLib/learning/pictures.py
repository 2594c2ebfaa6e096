"""Before and after side by side: one slice, the organs that were learnt as outlines, and what was drawn in white."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from ..imaging.shapes import LabelMap, Mask, VoxelArray
from ..imaging.volume import Volume
from ..organs import LabelSpace, Organ

DRAWN = (255, 255, 255)
_WINDOW_HU = (-160.0, 240.0)  # soft tissue
_PANEL, _GAP = 460, 8  # pixels: the width of each half, and between them
_BODY_HU = -300
_THIN, _THICK = 1, 2  # pixels of an outline


def before_after_png(ct: Volume, before: LabelMap, after: LabelMap, drawn: Mask | None,
                     organs: Sequence[Organ]) -> bytes:
    """PNG of the axial slice in which the models differ most; see `before_after`."""
    stream = io.BytesIO()
    before_after(ct, before, after, drawn, organs).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def before_after(ct: Volume, before: LabelMap, after: LabelMap, drawn: Mask | None,
                 organs: Sequence[Organ]) -> Image.Image:
    """RGB: left what the start model found, right what the new one does. All arrays (z, y, x) on the CT's grid, with
    one numbering; `organs`: those that are outlined; `drawn`: where something was drawn, outlined in white on both.

    Seen from the feet: the patient's right is on the left.
    """
    order = ct.grid.axis_order()
    canonical = ct.canonical()
    before, after = order.to_canonical(before), order.to_canonical(after)
    if drawn is not None:
        drawn = order.to_canonical(drawn)
    values = [organ.index for organ in organs]
    level = _level(np.isin(before, values), np.isin(after, values), before != after)
    box = _box(canonical.array[level])
    column_mm, row_mm, _ = canonical.grid.spacing
    panels = []
    for labels, title in ((before, "before"), (after, "after")):
        outline = None
        if drawn is not None:
            outline = drawn[level][box]
        panels.append(_panel(canonical.array[level][box], labels[level][box], outline, organs, (row_mm, column_mm),
                             title))
    page = Image.new("RGB", (sum(panel.width for panel in panels) + _GAP, panels[0].height), "white")
    page.paste(panels[0], (0, 0))
    page.paste(panels[1], (panels[0].width + _GAP, 0))
    return page


def _level(before: Mask, after: Mask, different: Mask) -> int:
    """The slice in which the models differ most about the organs; where they agree, the one with most of them."""
    either = before | after
    differing = (different & either).sum(axis=(1, 2))
    if differing.any():
        return int(differing.argmax())
    if not either.any():
        return len(before) // 2
    return int(either.sum(axis=(1, 2)).argmax())


def _box(hu: VoxelArray) -> tuple[slice, slice]:
    """Rows and columns of the body."""
    parts, count = ndimage.label(hu > _BODY_HU)
    if not count:
        return slice(None), slice(None)
    # The largest part: the table below the patient would make the picture small.
    largest = int(np.argmax(np.bincount(parts.ravel())[1:]))
    rows, columns = ndimage.find_objects(parts)[largest]
    return rows, columns


def _panel(hu: VoxelArray, labels: LabelMap, drawn: Mask | None, organs: Sequence[Organ],
           pixel_mm: tuple[float, float], title: str) -> Image.Image:
    low, high = _WINDOW_HU
    grey = np.clip((hu.astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    width_mm = grey.shape[1] * pixel_mm[1]
    size = (_PANEL, max(1, round(grey.shape[0] * pixel_mm[0] * _PANEL / width_mm)))
    picture = np.array(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR).convert("RGB"))
    for organ in organs:
        picture[_outline(labels == organ.index, size, _THICK)] = organ.colour
    # On top and thin: where a model is right, its colour still shows beside it.
    if drawn is not None:
        picture[_outline(drawn, size, _THIN)] = DRAWN
    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text((8, 6), title, fill=(235, 235, 235), font=ImageFont.load_default(16), stroke_width=2,
                               stroke_fill=(0, 0, 0))
    return image


def _outline(mask: npt.NDArray[np.bool_], size: tuple[int, int], thickness: int) -> npt.NDArray[np.bool_]:
    """(y, x) bool of `size` (width, height): the rim of a mask, `thickness` pixels."""
    large = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    rim: npt.NDArray[np.bool_] = large & ~ndimage.binary_erosion(large, iterations=thickness, border_value=1)
    return rim


def shown_organs(space: LabelSpace, names: Sequence[str]) -> list[Organ]:
    """The organs of these names, in label order."""
    return [organ for organ in space.organs if organ.name in names]
