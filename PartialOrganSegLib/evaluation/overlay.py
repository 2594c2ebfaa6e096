"""A picture of one structure: prediction and reference in three planes, where they differ most."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from ..imaging.volume import Grid, Volume

PREDICTION, REFERENCE = (255, 140, 0), (0, 200, 255)
_WINDOW_HU = (-160.0, 240.0)  # soft tissue
_MARGIN_MM = 15.0
_PANEL = 260  # pixels of a plane's longer side
_GAP = 6


def overlay_png(ct: Volume | None, predicted: np.ndarray, reference: np.ndarray, grid: Grid) -> bytes:
    """PNG of the axial, coronal and sagittal slice with most differing voxels, cropped around both masks.

    `predicted`, `reference`: bool (z, y, x) on `grid`, at least one of them not empty. The prediction has an orange
    outline, the reference a blue one; without a CT the reference is filled in grey. Seen from the feet and the front:
    the patient's right is on the left.
    """
    order = grid.axis_order()
    ours, theirs = order.to_canonical(predicted), order.to_canonical(reference)
    spacing = order.canonical_grid(grid).spacing[::-1]
    box = _box(ours | theirs, spacing)
    ours, theirs = ours[box], theirs[box]
    grey = _grey(None if ct is None else order.to_canonical(ct.array)[box], theirs)
    differing = ours ^ theirs if (ours ^ theirs).any() else ours
    panels = []
    for axis in range(3):
        counts = differing.sum(axis=tuple(other for other in range(3) if other != axis))
        place = tuple(int(np.argmax(counts)) if other == axis else slice(None) for other in range(3))
        pixel = [mm for other, mm in enumerate(spacing) if other != axis]
        up = slice(None, None, -1 if axis else 1)  # coronal and sagittal planes have superior at the top
        panels.append(_panel(grey[place][up], ours[place][up], theirs[place][up], pixel))
    size = (sum(panel.width for panel in panels) + 2 * _GAP, max(panel.height for panel in panels))
    page = Image.new("RGB", size, "white")
    left = 0
    for panel in panels:
        page.paste(panel, (left, 0))
        left += panel.width + _GAP
    stream = io.BytesIO()
    page.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _box(mask: np.ndarray, spacing: tuple[float, ...]) -> tuple[slice, ...]:
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(slice(max(0, part.start - round(_MARGIN_MM / mm)), part.stop + round(_MARGIN_MM / mm))
                 for part, mm in zip(found, spacing, strict=True))


def _grey(ct: np.ndarray | None, reference: np.ndarray) -> np.ndarray:
    if ct is None:
        return np.where(reference, np.uint8(90), np.uint8(30))
    low, high = _WINDOW_HU
    return np.clip((ct.astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)


def _panel(grey: np.ndarray, ours: np.ndarray, theirs: np.ndarray, pixel_mm: list[float]) -> Image.Image:
    extent = [n * mm for n, mm in zip(grey.shape, pixel_mm, strict=True)]
    height, width = (max(1, round(mm * _PANEL / max(extent))) for mm in extent)
    picture = np.array(Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR).convert("RGB"))
    for mask, colour in ((theirs, REFERENCE), (ours, PREDICTION)):
        large = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
        picture[large & ~ndimage.binary_erosion(large, border_value=1)] = colour
    return Image.fromarray(picture)
