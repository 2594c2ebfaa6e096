"""Structures that other programs drew on a CT, each a name and a mask: what RT structure sets and DICOM SEG hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ..errors import Code, UserError
from ..imaging.shapes import Coordinates, Mask
from ..imaging.volume import Grid
from .dicom_lengths import claims_too_much
from .dicom_slices import looks_like_dicom

RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # bit planes, and a label map


class DrawnStructures(Protocol):
    """A file of named structures."""

    @property
    def series_uid(self) -> str:
        """Of the CT that they were drawn on, empty where the file does not say it."""

    @property
    def names(self) -> list[str]:
        """Of all structures that have something drawn, in the file's order."""

    def masks(self, grid: Grid, positions: Coordinates | None = None,
              unfit: dict[int, UserError] | None = None) -> Iterator[tuple[str, Mask]]:
        """Name and mask (z, y, x) of each, on the CT's grid. `positions` as `OwnSlices` has them. Raises UserError for
        what lies neither on the grid nor on the series' own slices; where `unfit` is given it goes there, by the
        structure's number (from 1 on), and the mask is empty."""


def read_structures(path: Path) -> DrawnStructures | None:
    """The structures of a RT structure set or a DICOM SEG; None for a file of another kind.

    Raises UserError for one that is damaged.
    """
    if not path.is_file() or not looks_like_dicom(path):
        return None
    from pydicom import dcmread

    if claims_too_much(path):
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="a whole DICOM file",
                        found="an element longer than the file")
    try:
        header = dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True)
        sop_class = str(header.get("SOPClassUID", ""))
        if sop_class == RTSTRUCT_CLASS:
            from .rtstruct_reading import StructureSet

            return StructureSet.of(path, dcmread(path))
        if sop_class in SEG_CLASSES:
            from .dicom_seg_reading import DicomSegmentation

            return DicomSegmentation.of(path, dcmread(path))
    except UserError:
        raise
    except OSError as error:
        raise UserError(code=Code.NOT_READABLE, subject=path, expected="a file that can be read",
                        found=error.strerror or "none") from error
    except Exception as error:
        # pydicom raises whatever its parser ran into, and says it in Python's words.
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="a whole structure set or segmentation",
                        found="a damaged one") from error
    return None
