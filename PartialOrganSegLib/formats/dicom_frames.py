"""Where each frame of an enhanced multi-frame DICOM file lies, and how its numbers become HU.

The places stand in functional groups, shared by all frames or of one frame (DICOM PS3.3 C.7.6.16): Plane Position,
Plane Orientation, Pixel Measures and Pixel Value Transformation, for CT in A.38. GDCM takes the spacing and the rescale
slope of the first frames for all and the frames in the order of the file, so that is read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import Code, UserError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True)
class Frame:
    """One frame: `position` LPS mm, `axes` (2, 3) of rows and columns, `spacing` (x, y) mm.

    `rescale` (slope, intercept) turns GDCM's HU, which are made with the first frame's, into this frame's.
    """

    position: np.ndarray
    axes: np.ndarray
    spacing: tuple[float, float]
    rescale: tuple[float, float]
    acquisition: str
    image_type: str


def frames_of(file: Path) -> list[Frame] | None:
    """The frames of a multi-frame file in the file's order; None for one whose frames have no places of their own.

    Raises UserError for a frame without position, orientation or pixel spacing.
    """
    from pydicom import dcmread

    header = dcmread(file, stop_before_pixels=True, force=True)
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        return None
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    frames = []
    first: tuple[float, float] | None = None
    for number, group in enumerate(groups, 1):
        def value(macro: str, name: str, group: Dataset = group, number: int = number) -> list[float]:
            item = _macro(macro, group, shared)
            if item is None or item.get(name) is None:
                raise UserError(code=Code.DICOM_TAG_MISSING, subject=file, expected=f"{name} for every frame",
                                found=f"none for frame {number}")
            return [float(v) for v in item[name].value]

        slope, intercept = _rescale(_macro("PixelValueTransformationSequence", group, shared))
        first = first or (slope, intercept)
        scale = slope / first[0]
        row_mm, column_mm = value("PixelMeasuresSequence", "PixelSpacing")
        content = _macro("FrameContentSequence", group, shared)
        kind = _macro("CTImageFrameTypeSequence", group, shared)
        frames.append(Frame(
            np.array(value("PlanePositionSequence", "ImagePositionPatient")),
            np.array(value("PlaneOrientationSequence", "ImageOrientationPatient")).reshape(2, 3),
            (column_mm, row_mm), (scale, intercept - first[1] * scale),
            str(content.get("FrameAcquisitionNumber", "")) if content is not None else "",
            "\\".join(kind.get("FrameType", ())) if kind is not None else ""))
    return frames


def _macro(name: str, *groups: Dataset | None) -> Dataset | None:
    """The one item of a functional group, from the frame's own groups or the shared ones."""
    for group in groups:
        if group is not None and group.get(name):
            return group[name].value[0]
    return None


def _rescale(item: Dataset | None) -> tuple[float, float]:
    if item is None:
        return 1.0, 0.0
    slope = float(item.get("RescaleSlope", 1))
    return (slope if slope != 0 else 1.0), float(item.get("RescaleIntercept", 0))
