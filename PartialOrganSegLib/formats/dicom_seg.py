"""Writes DICOM SEG (PS3.3 A.51, C.8.20): Segmentation Storage, a bit plane an organ, or Label Map Segmentation Storage.

The only place that needs highdicom, which is imported when a file is to be written.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__
from ..errors import Code as ProblemCode
from ..errors import UserError
from ..imaging.shapes import LabelMap
from ..organs import Code, Organ
from .dicom_source import MANUFACTURER, DicomSource, Maker
from .roi_names import tg263_name
from .writing import output_file

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SERIES_NUMBER = 901  # scanners count from 1


def require_highdicom() -> ModuleType:
    """The package highdicom. Raises UserError with the way to install it where it is missing."""
    try:
        import highdicom
    except ImportError as error:
        raise UserError(code=ProblemCode.PACKAGE_MISSING, subject="DICOM SEG",
                        expected="the Python package highdicom", found="it not installed",
                        hint='pip install "highdicom>=0.27"') from error
    return highdicom


def write_dicom_seg(path: Path | str, placed: LabelMap, source: DicomSource, organs: Sequence[Organ], maker: Maker,
                    labelmap: bool = False, tg263: bool = False) -> None:
    """Labels (slices, rows, columns) on the slices of `source`, as `DicomSource.on_slices` gives them, as one SEG.

    Every one of `organs` becomes a segment with SNOMED codes, laterality, colour and algorithm, also one without a
    voxel: it was looked for, and a segment without frames says so. Segments are numbered from 1 without gaps, as
    BINARY demands (C.8.20.2); a label map keeps the labels' own values. Slices without any label have no frames.
    A segment is called by the organ's title, or with `tg263` as AAPM's TG-263 has it.
    Patient and study are the source's; a frame names the slice it belongs to. Labels of no organ are left out.

    Raises UserError without highdicom, for slices spread over several multi-frame files, and when writing fails.
    """
    highdicom = require_highdicom()
    from pydicom.uid import ExplicitVRLittleEndian, RLELossless

    images = _source_images(source)
    indices = [organ.index for organ in organs]
    numbers = indices if labelmap else list(range(1, len(organs) + 1))
    number_of = np.zeros(max(int(placed.max(initial=0)), *indices) + 1, np.min_scalar_type(max(numbers)))
    number_of[indices] = numbers
    segments = number_of[placed]
    positions = None
    if not segments.any():  # a file has at least one frame; the lowest slice will do
        first = source.slices[0].position
        positions = [highdicom.PlanePositionSequence("PATIENT", [float(p) for p in first])]
        segments = segments[:1]
    descriptions = [_description(highdicom, *pair, maker, tg263) for pair in zip(numbers, organs, strict=True)]
    seg = highdicom.seg.Segmentation(
        source_images=images, pixel_array=segments, plane_positions=positions,
        segmentation_type="LABELMAP" if labelmap else "BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=highdicom.UID(), series_number=SERIES_NUMBER, sop_instance_uid=highdicom.UID(),
        instance_number=1, manufacturer=MANUFACTURER, manufacturer_model_name=maker.name,
        software_versions=__version__, device_serial_number="0",
        series_description=f"Organs by {maker.name}"[:64], content_label="ORGANS",
        content_description="Abdominal organs", omit_empty_frames=positions is None,
        # Bits cannot be compressed; runs of equal bytes can, and every DICOM library reads them.
        transfer_syntax_uid=RLELossless if labelmap else ExplicitVRLittleEndian)
    seg.SpecificCharacterSet = "ISO_IR 192"  # not an argument, which highdicom 0.27 does not have
    seg.ContentCreatorName = None  # nobody; it must be there (type 2, PS3.3 10.9)
    _name_source_frames(seg, source)
    with output_file(path) as temporary:
        seg.save_as(temporary, enforce_file_format=True)


def _description(highdicom: ModuleType, number: int, organ: Organ, maker: Maker, tg263: bool) -> Dataset:
    """An item of the Segment Sequence (C.8.20.2, table C.8.20-4)."""
    from pydicom.sr.codedict import codes

    def coded(code: Code) -> Dataset:
        concept: Dataset = highdicom.sr.CodedConcept(code.value, "SCT", code.meaning)
        return concept

    # An algorithm must be named unless a person drew everything (type 1C).
    algorithm = None
    if maker.kind != "MANUAL":
        algorithm = highdicom.AlgorithmIdentificationSequence(maker.name, codes.DCM.ArtificialIntelligence,
                                                              maker.version, source="PartialOrganSeg")
    label = organ.title
    if tg263:
        label = tg263_name(organ)
    segment: Dataset = highdicom.seg.SegmentDescription(
        number, label, coded(organ.category), coded(organ.code), maker.kind, algorithm,
        display_color=highdicom.color.CIELabColor.from_rgb(*organ.colour))
    if organ.modifier:
        property_type = segment.SegmentedPropertyTypeCodeSequence[0]
        property_type.SegmentedPropertyTypeModifierCodeSequence = [coded(organ.modifier)]
    return segment


def _source_images(source: DicomSource) -> list[Dataset]:
    """The headers, one a slice, or a multi-frame file's with the frames of the series alone, in the slices' order."""
    from pydicom.dataset import Dataset

    first = source.slices[0]
    if first.frame is None:
        return list(source.headers)
    files = {ct_slice.file.name for ct_slice in source.slices}
    if len(files) > 1:
        raise UserError(code=ProblemCode.WRONG_FORMAT, subject=source.path,
                        expected="one multi-frame file or slices in files of their own",
                        found=f"{len(files)} multi-frame files ({', '.join(sorted(files))})")
    # highdicom takes all frames of a file for those of the series; a copy, because the header is used again.
    image = copy.deepcopy(source.headers[0])
    frames = image.PerFrameFunctionalGroupsSequence
    image.PerFrameFunctionalGroupsSequence = [frames[ct_slice.frame] for ct_slice in source.slices]
    image.NumberOfFrames = len(source.slices)
    if not image.get("SharedFunctionalGroupsSequence"):
        image.SharedFunctionalGroupsSequence = [Dataset()]
    shared = image.SharedFunctionalGroupsSequence[0]
    for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):  # may stand with each frame, all alike
        if name not in shared:
            setattr(shared, name, frames[first.frame][name].value)
    return [image]


def _name_source_frames(seg: Dataset, source: DicomSource) -> None:
    """Puts the file's own frame numbers where highdicom counted the frames of the series."""
    if source.slices[0].frame is None:
        return
    # The segments of a slice share their reference, which must be renumbered once.
    renumbered: set[int] = set()
    for group in seg.PerFrameFunctionalGroupsSequence:
        for derivation in group.DerivationImageSequence:
            for image in derivation.SourceImageSequence:
                if id(image) not in renumbered:
                    renumbered.add(id(image))
                    frame = source.slices[image.ReferencedFrameNumber - 1].frame
                    assert frame is not None
                    image.ReferencedFrameNumber = frame + 1
