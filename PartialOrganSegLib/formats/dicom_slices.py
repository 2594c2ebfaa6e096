"""Headers of DICOM images: where each slice or frame lies, and what tells to which series and patient it belongs.

GDCM (inside SimpleITK) reads the tags; frames of enhanced multi-frame files are slices like others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import Code, UserError
from ..imaging.shapes import Coordinates, Shape3
from ..memory_claims import check_claim
from . import dicom_attributes, dicom_pixels
from .dicom_attributes import BadAttribute
from .dicom_frames import frames_of
from .dicom_lengths import lengths_of
from .dicom_pixels import BITS_ALLOCATED, bad_pixels
from .dicom_syntax import is_packed, refuse_syntax
from .folder_files import files_below
from .itk import quiet_itk
from .itk_names import itk_input

IMAGE_TYPE, SOP_INSTANCE_UID, MODALITY, SERIES_DESCRIPTION = "0008|0008", "0008|0018", "0008|0060", "0008|103e"
PATIENT_NAME, PATIENT_ID, BIRTH_DATE, SEX = "0010|0010", "0010|0020", "0010|0030", "0010|0040"
STUDY_UID, SERIES_UID, SERIES_NUMBER = "0020|000d", "0020|000e", "0020|0011"
ACQUISITION_NUMBER, INSTANCE_NUMBER, FRAME_OF_REFERENCE_UID = "0020|0012", "0020|0013", "0020|0052"
SOP_CLASS_UID = "0008|0016"
ACQUISITION_TIME, CONTENT_TIME, SERIES_TIME = "0008|0032", "0008|0033", "0008|0031"
SCAN_OPTIONS, SLICE_THICKNESS, KVP, TRIGGER_TIME = "0018|0022", "0018|0050", "0018|0060", "0018|1060"
RECONSTRUCTION_DIAMETER, KERNEL = "0018|1100", "0018|1210"
TEMPORAL_POSITION, CARDIAC_PHASE = "0020|0100", "0020|9241"
# What tells several volumes of one series apart, in the order in which it is tried.
TELLING = {"acquisition": ACQUISITION_NUMBER, "temporal position": TEMPORAL_POSITION, "cardiac phase": CARDIAC_PHASE,
           "kernel": KERNEL, "image type": IMAGE_TYPE, "kV": KVP, "scan options": SCAN_OPTIONS,
           "slice thickness": SLICE_THICKNESS, "reconstruction diameter": RECONSTRUCTION_DIAMETER,
           "trigger time": TRIGGER_TIME, "acquisition time": ACQUISITION_TIME, "content time": CONTENT_TIME,
           "series time": SERIES_TIME}
_CT_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_TAGS = {IMAGE_TYPE, SOP_INSTANCE_UID, MODALITY, SERIES_DESCRIPTION, PATIENT_NAME, PATIENT_ID, BIRTH_DATE, SEX,
         STUDY_UID, SERIES_UID, SERIES_NUMBER, ACQUISITION_NUMBER, INSTANCE_NUMBER, FRAME_OF_REFERENCE_UID,
         SOP_CLASS_UID, *TELLING.values(), *dicom_attributes.TAGS, *dicom_pixels.TAGS}
# The modality as it stands in the file, with explicit and implicit value representation.
_SAYS_CT = re.compile(rb"\x08\x00\x60\x00(CS\x02\x00|\x02\x00\x00\x00)CT")
_NO_IMAGE_SUFFIXES = (".json", ".xml", ".txt", ".csv", ".md", ".html", ".zip", ".gz", ".pdf", ".png", ".jpg", ".py")
# Files of old archives have no preamble: they begin with the first element of group 2 or 8, in either byte order.
_FIRST_ELEMENTS = (b"\x08\x00\x00\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00", b"\x02\x00\x00\x00",
                   b"\x02\x00\x01\x00")


@dataclass(frozen=True)
class Slice:
    """A DICOM file's header, or a frame's: `position` LPS mm, `spacing` (x, y) mm, `axes` (2, 3) of rows and columns.

    `size`: (columns, rows, frames). `frame` counts from 0 in a multi-frame file and is None in others; `rescale` is
    `dicom_frames.Frame`'s, `bad_pixels` what keeps its numbers from being read for certain.
    """

    file: Path
    size: Shape3
    spacing: tuple[float, float]
    position: Coordinates
    axes: Coordinates
    tags: dict[str, str] = field(repr=False)
    frame: int | None = None
    rescale: tuple[float, float] = (1.0, 0.0)
    bad_pixels: BadAttribute | None = None

    def tag(self, name: str) -> str:
        """A tag such as `MODALITY`, empty where the file has none."""
        return self.tags.get(name, "")

    @property
    def normal(self) -> Coordinates:
        """Unit vector (LPS) at right angles to the slice."""
        return np.cross(self.axes[0], self.axes[1])

    @property
    def patient(self) -> tuple[str, str, str, str]:
        """Patient's name, ID, birth date and sex; all may be empty or replaced in anonymised files."""
        return self.tag(PATIENT_NAME), self.tag(PATIENT_ID), self.tag(BIRTH_DATE), self.tag(SEX)

    @property
    def bad_attribute(self) -> BadAttribute | None:
        """What keeps this slice from being placed or turned into HU. A frame's attributes were looked at as it was
        read."""
        if self.bad_pixels is not None:
            return self.bad_pixels
        if self.frame is not None or self.size[2] > 1:
            return None
        return dicom_attributes.bad_attribute(self.tags)

    @property
    def is_ct_image(self) -> bool:
        """Whether it is a slice of a scan by its SOP class, not a picture of a screen or a report that calls itself
        CT. Where the class is missing, it is taken for one."""
        sop_class = self.tag(SOP_CLASS_UID)
        return self.tag(MODALITY) == "CT" and (not sop_class or sop_class in _CT_CLASSES)

    @property
    def is_localizer(self) -> bool:
        """Whether it is a scout picture."""
        return "LOCALIZER" in self.tag(IMAGE_TYPE).upper()


def looks_like_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do, with or without the 128-byte preamble. Pipes and devices do not count:
    nobody may ever write to them."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as stream:
            start = stream.read(132)
    except OSError:
        return False
    if start[128:] == b"DICM":
        return True
    return path.suffix.lower() not in _NO_IMAGE_SUFFIXES and start[:4] in _FIRST_ELEMENTS


def holds_dicom(folder: Path) -> bool:
    """Whether a folder or one below it holds a DICOM file; folders that cannot be listed do not count."""
    return next(dicom_files(folder, lambda error: None), None) is not None


def dicom_files(folder: Path, unlistable: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """The DICOM files of a folder and all below it; hidden ones and directories of media do not count.

    Raises OSError for a folder that cannot be listed, unless `unlistable` takes it, see `files_below`.
    """
    for file in files_below(folder, unlistable):
        if file.name.upper() != "DICOMDIR" and looks_like_dicom(file):
            yield file


def holds_ct_slice(file: Path) -> bool:
    """Whether a file is DICOM with a CT's slice in it, a damaged one as well; no reports and no segmentations."""
    if file.name.upper() == "DICOMDIR" or not looks_like_dicom(file):
        return False
    try:
        return any(ct_slice.is_ct_image for ct_slice in read_slices(file))
    except UserError:
        return True


def read_slices(file: Path) -> list[Slice]:
    """The slices of a file, one a frame; none for DICOM objects without pixels or a place in space.

    Raises UserError for a damaged CT: left out, it would be a gap in its series.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    try:
        lengths = lengths_of(file)
        if lengths.too_much:
            raise RuntimeError("an element is longer than the file")
        with itk_input(file) as name, quiet_itk():
            reader.SetFileName(name)
            reader.ReadImageInformation()
    except RuntimeError as error:
        with open(file, "rb") as stream:
            if _SAYS_CT.search(stream.read(4096)):
                refuse_syntax(file)
                raise UserError(code=Code.FILE_DAMAGED, subject=file, expected="a whole CT slice",
                                found="a damaged or truncated file",
                                hint="replace it, or remove it to go on without that slice") from error
        return []
    tags = {key: str(reader.GetMetaData(key)).strip(" \0") for key in reader.GetMetaDataKeys() if key in _TAGS}
    # A file of one slice may have two axes only.
    columns, rows, frame_count = (*reader.GetSize(), 1)[:3]
    if min(columns, rows, frame_count) < 1:
        return []
    bad = bad_pixels(tags, (columns, rows, frame_count), None if is_packed(file) else lengths.pixels)
    # Colours in a slice with a place are a damaged header; in files without, a picture of a screen.
    if reader.GetNumberOfComponents() != 1 and (bad is None or not _is_placed_ct(tags)):
        return []
    bits = int(tags[BITS_ALLOCATED]) if tags.get(BITS_ALLOCATED, "").isdecimal() else 16
    check_claim(file, columns * rows * frame_count * bits // 8, file.stat().st_size, is_packed(file))
    frames = None
    if frame_count > 1 and tags.get(MODALITY) == "CT":
        frames = frames_of(file, frame_count)
    if frames is None:
        direction = np.asarray(reader.GetDirection(), float).reshape(reader.GetDimension(), -1)
        x_mm, y_mm = reader.GetSpacing()[:2]
        return [Slice(file, (columns, rows, frame_count), (x_mm, y_mm), np.asarray(reader.GetOrigin(), float),
                      direction[:, :2].T, tags, bad_pixels=bad)]
    slices = []
    for number, frame in enumerate(frames):
        # What one file holds for all its frames gives way to what each frame says of itself.
        of_frame = {**frame.telling, IMAGE_TYPE: frame.image_type or tags.get(IMAGE_TYPE, ""),
                    ACQUISITION_NUMBER: frame.acquisition, INSTANCE_NUMBER: str(number)}
        slices.append(Slice(file, (columns, rows, 1), frame.spacing, frame.position, frame.axes, {**tags, **of_frame},
                            number, frame.rescale, bad))
    return slices


def _is_placed_ct(tags: dict[str, str]) -> bool:
    return tags.get(SOP_CLASS_UID) in _CT_CLASSES and bool(tags.get(dicom_attributes.IMAGE_POSITION))
