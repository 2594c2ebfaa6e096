"""CT series for tests, written by pydicom: one file a slice, and enhanced multi-frame with frames in any order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

UPRIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
OBLIQUE = ((0.96, 0.28, 0.0), (-0.28 * 0.8, 0.96 * 0.8, 0.6))
# The patient lies face down: the normal points to the feet.
PRONE = ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
PIXEL_MM = (0.8, 0.9)  # between rows, between columns
STUDY = {"PatientName": "Müller^Jürgen", "PatientID": "4711", "PatientBirthDate": "19500101", "PatientSex": "M",
         "StudyDate": "20240102", "StudyTime": "101112", "StudyID": "7", "AccessionNumber": "A1",
         "ReferringPhysicianName": "", "StudyDescription": "Bauch", "Modality": "CT", "Manufacturer": "Tests",
         "SeriesNumber": 3, "SeriesDescription": "Abdomen"}


def positions_of(count: int, axes: tuple = UPRIGHT, step: float = 5.0) -> np.ndarray:
    """(count, 3) LPS mm of slices that follow each other along the normal."""
    normal = np.cross(*axes)
    return np.array([-100.0, -90.0, 40.0]) + step * np.arange(count)[:, None] * normal


def write_slices(folder: Path, array: np.ndarray, axes: tuple = UPRIGHT, positions: np.ndarray | None = None,
                 pixel_mm: tuple[float, float] = PIXEL_MM, step: float = 5.0, **tags: object) -> Path:
    """HU (slices, rows, columns) as CT Image Storage; the files' names and numbers run against the positions."""
    folder.mkdir(parents=True, exist_ok=True)
    positions = positions_of(len(array), axes, step) if positions is None else positions
    common = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(),
              "FrameOfReferenceUID": generate_uid(), **tags}
    for number, (plane, position) in enumerate(zip(array, positions, strict=True), 1):
        ct = _image(plane, CTImageStorage, common)
        ct.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        # Numbers and names count downwards: only the position says where a slice lies.
        ct.InstanceNumber = len(array) + 1 - number
        ct.KVP, ct.AcquisitionNumber, ct.SliceThickness, ct.PositionReferenceIndicator = 120, 1, 5, ""
        ct.ImagePositionPatient = [f"{p:.6f}" for p in position]
        ct.ImageOrientationPatient = _cosines(axes)
        ct.PixelSpacing = list(pixel_mm)
        ct.RescaleIntercept, ct.RescaleSlope, ct.RescaleType = -1024, 1, "HU"
        ct.save_as(folder / f"im{len(array) - number:03d}.dcm", enforce_file_format=True)
    return folder


def write_enhanced(file: Path, array: np.ndarray, axes: tuple = UPRIGHT, positions: np.ndarray | None = None,
                   order: Sequence[int] | None = None, slopes: Sequence[int] = (1,),
                   pixel_mm: tuple[float, float] = PIXEL_MM, step: float = 5.0, **tags: object) -> Path:
    """HU (slices, rows, columns) as Enhanced CT Image Storage, its frames in `order`, with slopes that may differ."""
    file.parent.mkdir(parents=True, exist_ok=True)
    positions = positions_of(len(array), axes, step) if positions is None else positions
    order = list(range(len(array))) if order is None else list(order)
    slope = np.array([slopes[place % len(slopes)] for place in range(len(order))])
    # Stored = (HU + 1024) / slope, as a scanner stores it; `_image` adds the 1024.
    stored = (array[order] + 1024) // slope[:, None, None]
    ct = _image(stored - 1024, EnhancedCTImageStorage, {
        "StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(), **tags})
    ct.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ct.InstanceNumber, ct.NumberOfFrames = 1, len(order)
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = _cosines(axes)
    measures.PixelSpacing, measures.SliceThickness = list(pixel_mm), 5
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Items([orientation]), Items([measures])
    ct.SharedFunctionalGroupsSequence = Items([shared])
    frames = []
    for place, index in enumerate(order):
        position, content, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [f"{p:.6f}" for p in positions[index]]
        content.FrameAcquisitionNumber, content.InStackPositionNumber, content.StackID = 1, int(index) + 1, "1"
        values.RescaleIntercept, values.RescaleSlope, values.RescaleType = -1024, int(slope[place]), "HU"
        frame = Dataset()
        frame.PlanePositionSequence, frame.FrameContentSequence = Items([position]), Items([content])
        frame.PixelValueTransformationSequence = Items([values])
        frames.append(frame)
    ct.PerFrameFunctionalGroupsSequence = Items(frames)
    ct.save_as(file, enforce_file_format=True)
    return file


def _cosines(axes: tuple) -> list[str]:
    """Six direction cosines as DICOM writes them."""
    row, column = axes
    return [f"{cosine:.10f}" for cosine in (*row, *column)]


def _image(hu: np.ndarray, kind: str, tags: dict[str, object]) -> Dataset:
    ct = Dataset()
    ct.file_meta = FileMetaDataset()
    ct.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ct.SpecificCharacterSet = "ISO_IR 100"
    ct.SOPClassUID, ct.SOPInstanceUID = kind, generate_uid()
    for name, value in {**STUDY, **tags}.items():
        setattr(ct, name, value)
    ct.Rows, ct.Columns = hu.shape[-2:]
    ct.SamplesPerPixel, ct.PhotometricInterpretation = 1, "MONOCHROME2"
    ct.BitsAllocated, ct.BitsStored, ct.HighBit, ct.PixelRepresentation = 16, 16, 15, 0
    ct.PixelData = (hu.astype(np.int32) + 1024).astype("<u2").tobytes()
    return ct


def inside(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Which pixel centres of an image lie inside a polygon (n, 2) of (column, row), by the even-odd rule."""
    rows, columns = np.mgrid[:shape[0], :shape[1]]
    is_inside = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:
            # An edge that a ray to the left crosses turns inside to outside and back.
            is_inside ^= ((y0 > rows) != (y1 > rows)) & (columns < x0 + (rows - y0) * (x1 - x0) / (y1 - y0))
    return is_inside
