"""Which DICOM files can be made of labels, and several of them written at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Code, UserError

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


class DicomNotWrittenError(UserError):
    """Some of the DICOM files could not be written; all others were."""

    CODE = Code.NOT_WRITABLE


def write_dicom(files: Mapping[str, Path], labels: Volume, source: DicomSource, organs: Sequence[Organ], maker: Maker,
                resample: bool = False, absent_organs: bool = False, tg263: bool = False) -> None:
    """Writes those of `files` (kind to path) whose kind is one of `ENDINGS`, and no other.

    `labels` lie on the grid of the series as it is read, see `DicomSource.on_slices`. Those of `organs` that have no
    voxel are left out unless `absent_organs`, or unless none has any. `tg263`: segments are called as TG-263 has it, as
    ROIs always are. Raises UserError, and DicomNotWrittenError after
    all files that can be written are.
    """
    dicom_files = {kind: path for kind, path in files.items() if kind in ENDINGS}
    if not dicom_files:
        return
    # The registry imports the formats, which need this module's endings.
    from .registry import FORMATS, Segmentation, SegmentationWriter

    segmentation = Segmentation(labels, organs, source, maker, resample, tg263)
    if not absent_organs:
        import numpy as np  # here, since options are made without it

        counts = np.bincount(segmentation.on_slices.ravel())
        present = [organ for organ in organs if organ.index < len(counts) and counts[organ.index]]
        segmentation = replace(segmentation, organs=present or organs)
    failures: list[UserError] = []
    for kind, path in dicom_files.items():
        writer = FORMATS.find(kind)
        assert isinstance(writer, SegmentationWriter)
        try:
            writer.write_segmentation(path, segmentation)
        except UserError as error:
            failures.append(error)
        except Exception as error:
            # Whatever highdicom and pydicom raise for a header of a kind that nobody foresaw: the others are written.
            failures.append(UserError(code=Code.NOT_WRITABLE, subject=path, expected="a CT whose headers DICOM allows",
                                      found=f"one that {kind} cannot be made of ({error})"))
    if failures:
        raise DicomNotWrittenError(failures[0].problem) from failures[0]
