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
from ..imaging.shapes import Coordinates
from .dicom_attributes import RESCALE_TYPE
from .dicom_reading import read_header

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


# Tag of a slice's header to where a frame says the same.
_TELLING = {"0020|0100": ("FrameContentSequence", "TemporalPositionIndex"),
            "0020|9241": ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
            "0018|1210": ("CTReconstructionSequence", "ConvolutionKernel"),
            "0018|0060": ("CTXRayDetailsSequence", "KVP"),
            RESCALE_TYPE: ("PixelValueTransformationSequence", "RescaleType"),
            "0018|1060": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime")}


@dataclass(frozen=True)
class Frame:
    """One frame: `position` LPS mm, `axes` (2, 3) of rows and columns, `spacing` (x, y) mm.

    `rescale` (slope, intercept) turns GDCM's HU, which are made with the first frame's, into this frame's.
    """

    position: Coordinates
    axes: Coordinates
    spacing: tuple[float, float]
    rescale: tuple[float, float]
    acquisition: str
    image_type: str
    telling: dict[str, str]  # DICOM tag to text, of what tells several volumes in one file apart


class _Groups:
    """The functional groups of one frame: its own, and where it has none, those of all frames."""

    def __init__(self, file: Path, number: int, of_frame: Dataset, shared: Dataset | None) -> None:
        self._file, self._number = file, number
        self._groups = [of_frame] if shared is None else [of_frame, shared]

    def macro(self, name: str) -> Dataset | None:
        """The one item of a functional group, None where the file has no such group."""
        for group in self._groups:
            if group.get(name):
                item: Dataset = group[name].value[0]
                return item
        return None

    def numbers(self, macro: str, attribute: str, count: int) -> list[float]:
        """The numbers of an attribute that every frame needs. Raises UserError for a frame without."""
        item = self.macro(macro)
        if item is None or item.get(attribute) is None:
            raise UserError(code=Code.DICOM_TAG_MISSING, subject=self._file,
                            expected=f"{attribute} for every frame", found=f"none for frame {self._number}")
        try:
            numbers = [float(value) for value in np.atleast_1d(item[attribute].value)]
        except (TypeError, ValueError):
            numbers = []
        if len(numbers) != count or not np.isfinite(numbers).all():
            raise UserError(code=Code.DICOM_TAG_MISSING, subject=self._file,
                            expected=f"{count} numbers as {attribute} of every frame",
                            found=f"'{item[attribute].value!s:.60}' for frame {self._number}")
        return numbers

    def text(self, macro: str, attribute: str) -> str:
        """The values of an attribute as DICOM writes them in one line, empty where there is none."""
        item = self.macro(macro)
        if item is None:
            return ""
        value = item.get(attribute, "")
        return value if isinstance(value, str) else "\\".join(map(str, np.atleast_1d(value)))

    def rescale(self) -> tuple[float, float]:
        """Slope and intercept from stored numbers to HU."""
        item = self.macro("PixelValueTransformationSequence")
        if item is None:
            return 1.0, 0.0
        slope = self.numbers("PixelValueTransformationSequence", "RescaleSlope", 1)[0]
        intercept = self.numbers("PixelValueTransformationSequence", "RescaleIntercept", 1)[0]
        if slope == 0:  # would make all voxels alike
            raise UserError(code=Code.DICOM_TAG_MISSING, subject=self._file,
                            expected="a number other than 0 as RescaleSlope of every frame",
                            found=f"0 for frame {self._number}")
        return slope, intercept


def frames_of(file: Path, count: int) -> list[Frame] | None:
    """The `count` frames of a multi-frame file in the file's order; None for one whose frames have no places of their
    own.

    Raises UserError for a frame without position, orientation or pixel spacing, and for more or fewer functional groups
    than frames: which frame they are of is not known then.
    """
    try:
        return _frames_of(file, count)
    except UserError:
        raise
    except Exception as error:
        # pydicom reads an element when it is asked for, and raises whatever its parser runs into then.
        raise UserError(code=Code.FILE_DAMAGED, subject=file, expected="functional groups that can be read",
                        found="damaged ones") from error


def _frames_of(file: Path, count: int) -> list[Frame] | None:
    header = read_header(file)
    of_frames = header.get("PerFrameFunctionalGroupsSequence")
    if not of_frames:
        return None
    if len(of_frames) != count:
        raise UserError(code=Code.FILE_DAMAGED, subject=file,
                        expected=f"a functional group (5200,9230) for each of {count} frames", found=len(of_frames))
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    frames = []
    _check_rescale(file, [_Groups(file, number, of_frame, shared) for number, of_frame in enumerate(of_frames, 1)])
    first_slope, first_intercept = _Groups(file, 1, of_frames[0], shared).rescale()
    for number, of_frame in enumerate(of_frames, 1):
        groups = _Groups(file, number, of_frame, shared)
        slope, intercept = groups.rescale()
        scale = slope / first_slope
        row_mm, column_mm = groups.numbers("PixelMeasuresSequence", "PixelSpacing", 2)
        if min(row_mm, column_mm) <= 0:
            raise UserError(code=Code.DICOM_TAG_MISSING, subject=file,
                            expected="two positive numbers as PixelSpacing of every frame",
                            found=f"{row_mm:g} x {column_mm:g} mm for frame {number}")
        frames.append(Frame(
            position=np.array(groups.numbers("PlanePositionSequence", "ImagePositionPatient", 3)),
            axes=np.array(groups.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)).reshape(2, 3),
            spacing=(column_mm, row_mm),
            rescale=(scale, intercept - first_intercept * scale),
            acquisition=groups.text("FrameContentSequence", "FrameAcquisitionNumber"),
            image_type=groups.text("CTImageFrameTypeSequence", "FrameType"),
            telling={tag: groups.text(macro, attribute) for tag, (macro, attribute) in _TELLING.items()}))
    return frames


def _check_rescale(file: Path, frames: list[_Groups]) -> None:
    """Raises UserError where only some frames say how their numbers become HU."""
    without = [number for number, groups in enumerate(frames, 1)
               if groups.macro("PixelValueTransformationSequence") is None]
    if without and len(without) < len(frames):
        raise UserError(code=Code.DICOM_TAG_MISSING, subject=file,
                        expected="RescaleSlope and RescaleIntercept for every frame",
                        found=f"none for frame {without[0]}")
