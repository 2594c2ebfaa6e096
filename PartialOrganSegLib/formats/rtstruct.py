"""Writes RT Structure Sets (PS3.3 A.19): organs as contours on the CT's slices, for radiotherapy planning systems."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from .. import __version__
from ..imaging.shapes import LabelMap
from ..organs import Code, Organ
from .contours import plane_contours
from .dicom_slices import Slice
from .dicom_source import MANUFACTURER, DicomSource, Maker
from .roi_names import rtog_name, tg263_name
from .writing import output_file

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SERIES_NUMBER = 902
# Patient, Patient Study and General Study Modules (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2).
_CARRIED_OVER = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "OtherPatientIDsSequence",
    "PatientComments", "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "PatientAge", "PatientSize", "PatientWeight", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID",
    "StudyDescription", "AccessionNumber", "ReferringPhysicianName", "FrameOfReferenceUID",
    "PositionReferenceIndicator")
_STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, retired; what structure sets name (C.8.8.5.4)


def write_rtstruct(path: Path | str, placed: LabelMap, source: DicomSource, organs: Sequence[Organ],
                   maker: Maker) -> None:
    """Labels (slices, rows, columns) on the slices of `source`, as `DicomSource.on_slices` gives them, as contours.

    ROIs bear TG-263's names; RTOG's name and the organ's own stand in the description. Every one of `organs` is an ROI;
    one without a voxel has no contours (Contour Sequence is type 3, C.8.8.6). Every part in every slice is a
    CLOSED_PLANAR contour that names its image; holes are joined in by keyholes, see `contours`. A pixel is in the ROI
    when its centre is inside a contour. Patient, study and frame of reference are the source's.

    Raises UserError when the file cannot be written.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

    created = datetime.datetime.now()
    first = source.headers[0]
    rtss = Dataset()
    rtss.file_meta = FileMetaDataset()
    # Contour Data longer than 65534 bytes cannot be told with explicit VR (PS3.3 C.8.8.6, note).
    rtss.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    rtss.SpecificCharacterSet = "ISO_IR 192"
    for name in _CARRIED_OVER:
        if name in first:
            rtss[name] = first[name]
    rtss.SOPClassUID, rtss.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    rtss.InstanceCreationDate, rtss.InstanceCreationTime = created.strftime("%Y%m%d"), created.strftime("%H%M%S")
    rtss.Modality, rtss.SeriesInstanceUID, rtss.SeriesNumber = "RTSTRUCT", generate_uid(), SERIES_NUMBER
    rtss.SeriesDescription, rtss.OperatorsName, rtss.InstanceNumber = f"Organs by {maker.name}"[:64], "", 1
    rtss.Manufacturer, rtss.ManufacturerModelName, rtss.SoftwareVersions = MANUFACTURER, maker.name, __version__
    rtss.StructureSetLabel, rtss.StructureSetName = "PartialOrganSeg", f"Organs by {maker.name}"[:64]
    rtss.StructureSetDate, rtss.StructureSetTime = rtss.InstanceCreationDate, rtss.InstanceCreationTime
    rtss.ApprovalStatus = "UNAPPROVED"
    images = [_image(header, ct_slice) for header, ct_slice in zip(source.headers, source.slices, strict=True)]
    rtss.ReferencedFrameOfReferenceSequence = [_frame_of_reference(first, images)]
    rtss.StructureSetROISequence, rtss.ROIContourSequence, rtss.RTROIObservationsSequence = [], [], []
    # One pass finds every organ's box, so that only slices with the organ are traced.
    boxes = ndimage.find_objects(placed, max_label=max(organ.index for organ in organs))
    for number, organ in enumerate(organs, 1):
        rtss.StructureSetROISequence.append(_roi(number, organ, first.FrameOfReferenceUID, maker))
        rtss.RTROIObservationsSequence.append(_observation(number, organ))
        roi = Dataset()
        roi.ROIDisplayColor, roi.ReferencedROINumber = list(organ.colour), number
        contours = list(_contours(placed, organ.index, boxes[organ.index - 1], source, images))
        if contours:
            roi.ContourSequence = contours
        rtss.ROIContourSequence.append(roi)
    with output_file(path) as temporary:
        rtss.save_as(temporary, enforce_file_format=True)


def _image(header: Dataset, ct_slice: Slice) -> Dataset:
    """Image SOP Instance Reference Macro (PS3.3 10.3)."""
    from pydicom.dataset import Dataset

    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    if ct_slice.frame is not None:
        image.ReferencedFrameNumber = ct_slice.frame + 1
    return image


def _frame_of_reference(first: Dataset, images: list[Dataset]) -> Dataset:
    """Referenced Frame of Reference Sequence: study, series and images that the contours lie on (C.8.8.5)."""
    from pydicom.dataset import Dataset

    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID, series.ContourImageSequence = first.SeriesInstanceUID, images
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_COMPONENT, first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = first.FrameOfReferenceUID, [study]
    return frame


def _roi(number: int, organ: Organ, frame_of_reference: str, maker: Maker) -> Dataset:
    """An item of the Structure Set ROI Sequence (C.8.8.5)."""
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes

    roi = Dataset()
    roi.ROINumber, roi.ReferencedFrameOfReferenceUID, roi.ROIName = number, frame_of_reference, tg263_name(organ)
    rtog = rtog_name(organ)
    roi.ROIDescription = organ.title
    if rtog:
        roi.ROIDescription += f"; RTOG: {rtog}"
    roi.ROIGenerationAlgorithm = maker.kind
    if maker.kind != "MANUAL":
        algorithm = Dataset()
        algorithm.AlgorithmFamilyCodeSequence = [_coded(codes.DCM.ArtificialIntelligence.value, "DCM",
                                                        codes.DCM.ArtificialIntelligence.meaning)]
        algorithm.AlgorithmName, algorithm.AlgorithmVersion = maker.name, maker.version
        algorithm.AlgorithmSource = "PartialOrganSeg"
        roi.ROIDerivationAlgorithmIdentificationSequence = [algorithm]
        roi.ROIGenerationDescription = f"{maker.name} {maker.version}"[:64]
    return roi


def _observation(number: int, organ: Organ) -> Dataset:
    """An item of the RT ROI Observations Sequence (C.8.8.8): an organ, with its SNOMED code and laterality."""
    from pydicom.dataset import Dataset

    observation = Dataset()
    observation.ObservationNumber, observation.ReferencedROINumber = number, number
    observation.ROIObservationLabel = tg263_name(organ)[:16]
    observation.SegmentedPropertyCategoryCodeSequence = [_sct(organ.category)]
    code = _sct(organ.code)
    if organ.modifier:
        code.SegmentedPropertyTypeModifierCodeSequence = [_sct(organ.modifier)]
    observation.RTROIIdentificationCodeSequence = [code]
    observation.RTROIInterpretedType, observation.ROIInterpreter = "ORGAN", ""
    return observation


def _sct(code: Code) -> Dataset:
    return _coded(code.value, "SCT", code.meaning)


def _coded(value: str, scheme: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _contours(placed: LabelMap, value: int, box: tuple[slice, ...] | None, source: DicomSource,
              images: list[Dataset]) -> Iterator[Dataset]:
    """Items of the Contour Sequence (C.8.8.6), slice by slice from the lowest."""
    from pydicom.config import disable_value_validation
    from pydicom.dataset import Dataset

    if box is None:
        return
    corner = np.array([box[2].start, box[1].start])
    number = 0
    for index in range(box[0].start, box[0].stop):
        ct_slice = source.slices[index]
        for polygon in plane_contours(placed[index][box[1:]] == value):
            points = ct_slice.position + (polygon + corner) * ct_slice.spacing @ ct_slice.axes
            number += 1
            contour = Dataset()
            contour.ContourNumber = number
            contour.ContourImageSequence = [images[index]]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            with disable_value_validation():  # twice as fast for numbers that were just formatted
                contour.ContourData = [f"{p:.4f}" for p in points.ravel()]
            yield contour
