"""Which DICOM files can be made of labels, and several of them written at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..imaging.volume import Volume
    from ..organs import Organ
    from .dicom_source import DicomSource, Maker

ENDINGS = {"seg": ".seg.dcm", "labelmap-seg": ".labelmap-seg.dcm", "rtstruct": ".rtstruct.dcm"}


def check_writers(kinds: Collection[str]) -> None:
    """Raises UserError when a package is missing that one of `kinds` needs: before hours of work, not after."""
    # RT structure sets are written with pydicom, which is always there.
    if any(kind.endswith("seg") for kind in kinds):
        from .dicom_seg import require_highdicom

        require_highdicom()


def write_dicom(files: Mapping[str, Path], labels: Volume, source: DicomSource, organs: Sequence[Organ], maker: Maker,
                resample: bool = False) -> None:
    """Writes those of `files` (kind to path) whose kind is one of `ENDINGS`, and no other.

    `labels` lie on the grid of the series as it is read, see `DicomSource.on_slices`. Raises UserError.
    """
    dicom_files = {kind: path for kind, path in files.items() if kind in ENDINGS}
    if not dicom_files:
        return
    # The registry imports the formats, which need this module's endings.
    from .registry import FORMATS, Segmentation, SegmentationWriter

    segmentation = Segmentation(labels, organs, source, maker, resample)
    for kind, path in dicom_files.items():
        writer = FORMATS.find(kind)
        assert isinstance(writer, SegmentationWriter)
        writer.write_segmentation(path, segmentation)
