"""The DICOM formats: CT series, and segmentations as SEG, label map SEG and RT structure set."""

from __future__ import annotations

from pathlib import Path

from ..events import Reporter
from ..imaging.volume import Volume
from .dicom import read_dicom
from .dicom_export import ENDINGS
from .dicom_slices import looks_like_dicom
from .registry import Segmentation, register_format


@register_format
class DicomSeries:
    """A DICOM series of a CT: a folder, or a file that holds all slices."""

    name = "dicom"
    suffixes = (".dcm",)

    def reads(self, path: Path) -> bool:
        """Any folder, and files that start as DICOM does."""
        return path.is_dir() or looks_like_dicom(path)

    def read_series(self, path: Path, series: str | None, reporter: Reporter) -> Volume:
        """HU, with gaps and tilt made good; see `dicom.read_dicom`."""
        return read_dicom(path, series, reporter)


class _OfSeries:
    """What is written of a CT series and never read."""

    def reads(self, path: Path) -> bool:
        """Never: our labels are read from label maps."""
        return False


@register_format
class DicomSeg(_OfSeries):
    """DICOM Segmentation Storage, a bit plane an organ."""

    name = "seg"
    suffixes = (ENDINGS["seg"],)

    def write_segmentation(self, path: Path, segmentation: Segmentation) -> None:
        """See `dicom_seg.write_dicom_seg`."""
        _write_seg(path, segmentation, labelmap=False)


@register_format
class DicomLabelMapSeg(_OfSeries):
    """DICOM Label Map Segmentation Storage."""

    name = "labelmap-seg"
    suffixes = (ENDINGS["labelmap-seg"],)

    def write_segmentation(self, path: Path, segmentation: Segmentation) -> None:
        """See `dicom_seg.write_dicom_seg`."""
        _write_seg(path, segmentation, labelmap=True)


@register_format
class RTStruct(_OfSeries):
    """RT structure set: contours on the CT's slices."""

    name = "rtstruct"
    suffixes = (ENDINGS["rtstruct"],)

    def write_segmentation(self, path: Path, segmentation: Segmentation) -> None:
        """See `rtstruct.write_rtstruct`."""
        # Imported here: most runs write no structure set, and reading must not wait for it.
        from .rtstruct import write_rtstruct

        assert segmentation.source is not None
        assert segmentation.maker is not None
        write_rtstruct(path, segmentation.on_slices, segmentation.source, segmentation.organs, segmentation.maker)


def _write_seg(path: Path, segmentation: Segmentation, labelmap: bool) -> None:
    from .dicom_seg import write_dicom_seg  # needs highdicom, which not everybody has

    assert segmentation.source is not None
    assert segmentation.maker is not None
    write_dicom_seg(path, segmentation.on_slices, segmentation.source, segmentation.organs, segmentation.maker,
                    labelmap=labelmap, tg263=segmentation.tg263)
