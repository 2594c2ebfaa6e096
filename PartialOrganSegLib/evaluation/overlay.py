"""A picture of one structure: prediction and reference in three planes, where they differ most."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from ..imaging.shapes import Box3, Mask, Spacing3, VoxelArray
from ..imaging.volume import Grid, Volume

PREDICTION, REFERENCE = (255, 140, 0), (0, 200, 255)
_WINDOW_HU = (-160.0, 240.0)  # soft tissue
_MARGIN_MM = 15.0
_PANEL = 260  # pixels of a plane's longer side
_GAP = 6


def overlay_png(ct: Volume | None, predicted: Mask, reference: Mask, grid: Grid) -> bytes:
    """PNG of the axial, coronal and sagittal slice with most differing voxels, cropped around both masks.

    `predicted`, `reference`: bool (z, y, x) on `grid`, at least one of them not empty. The prediction has an orange
    outline, the reference a blue one; without a CT the reference is filled in grey. Seen from the feet and the front:
    the patient's right is on the left.
    """
    order = grid.axis_order()
    predicted, reference = order.to_canonical(predicted), order.to_canonical(reference)
    spacing = order.canonical_grid(grid).spacing[::-1]
    box = _box(predicted | reference, spacing)
    predicted, reference = predicted[box], reference[box]
    hu = None
    if ct is not None:
        hu = order.to_canonical(ct.array)[box]
    grey = _grey(hu, reference)
    differing = predicted ^ reference
    if not differing.any():  # then the slices that hold most of the organ
        differing = predicted
    panels = []
    for axis in range(3):
        row_axis, column_axis = (in_plane for in_plane in range(3) if in_plane != axis)
        worst = int(np.argmax(differing.sum(axis=(row_axis, column_axis))))
        # Coronal and sagittal planes have superior at the top.
        upwards = slice(None) if axis == 0 else slice(None, None, -1)
        grey_plane, predicted_plane, reference_plane = (np.take(array, worst, axis)[upwards]
                                                        for array in (grey, predicted, reference))
        panels.append(_panel(grey_plane, predicted_plane, reference_plane, (spacing[row_axis], spacing[column_axis])))
    size = (sum(panel.width for panel in panels) + 2 * _GAP, max(panel.height for panel in panels))
    page = Image.new("RGB", size, "white")
    x = 0
    for panel in panels:
        page.paste(panel, (x, 0))
        x += panel.width + _GAP
    stream = io.BytesIO()
    page.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _box(mask: Mask, spacing: Spacing3) -> Box3:
    """Around the mask with a margin."""
    tight = ndimage.find_objects(mask.astype(np.uint8))[0]
    sides = []
    for part, mm in zip(tight, spacing, strict=True):
        margin = round(_MARGIN_MM / mm)
        sides.append(slice(max(0, part.start - margin), part.stop + margin))
    return sides[0], sides[1], sides[2]


def _grey(hu: VoxelArray | None, reference: Mask) -> npt.NDArray[np.uint8]:
    if hu is None:
        return np.where(reference, np.uint8(90), np.uint8(30))
    low, high = _WINDOW_HU
    shades: npt.NDArray[np.uint8] = np.clip((hu.astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    return shades


def _panel(grey: npt.NDArray[np.uint8], predicted: Mask, reference: Mask, pixel_mm: tuple[float, float]
           ) -> Image.Image:
    # Slices are thicker than pixels: drawn in millimetres, an organ has its own shape in all three planes.
    extent = [n * mm for n, mm in zip(grey.shape, pixel_mm, strict=True)]
    height, width = (max(1, round(mm * _PANEL / max(extent))) for mm in extent)
    picture = np.array(Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR).convert("RGB"))
    for mask, colour in ((reference, REFERENCE), (predicted, PREDICTION)):  # the prediction's outline lies on top
        large = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
        picture[large & ~ndimage.binary_erosion(large, border_value=1)] = colour
    return Image.fromarray(picture)
