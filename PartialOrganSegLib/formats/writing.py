"""Writes CTs, labelmaps, segmentations that 3D Slicer opens with names, colours and codes, and tables."""

from __future__ import annotations

import contextlib
import csv
import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..atomic import IN_USE, whole_file
from ..errors import Code, UserError, one_line
from ..imaging.shapes import LabelMap
from ..imaging.volume import Volume
from ..organs import LabelSpace
from ..safe_text import csv_cell
from .itk import itk_reason
from .registry import FORMATS, Segmentation, SegmentationWriter, writer_of, written_suffixes

_NEARLY_FULL = 1 << 20  # bytes


@contextlib.contextmanager
def output_file(path: Path | str) -> Iterator[Path]:
    """`whole_file` whose failures are one line: a missing or read-only folder, a full disk. Nothing is left behind."""
    path = Path(path)
    if not os.path.isdir(path.parent):
        raise UserError(code=Code.FILE_MISSING, subject=path, expected=f"the folder {path.parent} to write to",
                        found="none")
    if os.path.isdir(path):
        raise UserError(code=Code.NAME_UNFIT, subject=path, expected="the name of a file to write", found="a folder")
    try:
        with whole_file(path) as temporary:
            temporary.touch()  # a read-only folder shows here, with the system's own reason
            yield temporary
    except OSError as error:
        raise UserError(code=Code.NOT_WRITABLE, subject=path, found=f"could not be written: {_why(error)}") from error


def _why(error: OSError) -> str:
    # Windows says "access denied" as well of a file that somebody has open: Excel, a viewer, a virus scanner.
    if getattr(error, "winerror", None) in IN_USE:
        return "no permission to write there, or another program has the file open"
    reasons = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up",
               errno.EFBIG: "the file would be too large", errno.EACCES: "no permission to write there",
               errno.EPERM: "no permission to write there", errno.EROFS: "the disk is read-only"}
    return reasons.get(error.errno or 0, error.strerror or str(error))


def write_ct(path: Path | str, ct: Volume) -> None:
    """HU as a compressed image in the array's own type (int16 or float32), on its own grid. Suffix as for labelmaps.

    Raises UserError when it cannot be written.
    """
    _write_volume(path, ct)


def write_labelmap(path: Path | str, labels: Volume) -> None:
    """Labels as a compressed image on their own grid, uint8 when they fit. Raises UserError when it cannot be written.

    The suffix chooses the format: .nii.gz, .nii, .nrrd, .mha or one that somebody registered.
    """
    _write_volume(path, Volume(smallest_type(labels.array), labels.grid))


def _write_volume(path: Path | str, volume: Volume) -> None:
    writer = writer_of(Path(path))
    if writer is None:
        raise UserError(code=Code.NAME_UNFIT, subject=path,
                        expected=f"a name ending in {', '.join(written_suffixes())}", found=f"'{Path(path).name}'")
    with written_whole(path) as temporary:
        writer.write(temporary, volume)


def write_segmentation(path: Path | str, labels: Volume, label_space: LabelSpace) -> None:
    """Labels as a .seg.nrrd that 3D Slicer opens as a segmentation; organs without a voxel are left out.

    Raises UserError when it cannot be written.
    """
    if not str(path).lower().endswith(".seg.nrrd"):
        raise UserError(code=Code.NAME_UNFIT, subject=path, expected="a name ending in .seg.nrrd",
                        found=f"'{Path(path).name}'")
    writer = FORMATS.find("seg.nrrd")
    assert isinstance(writer, SegmentationWriter)
    writer.write_segmentation(Path(path), Segmentation(labels, label_space.organs))


def smallest_type(array: LabelMap) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Labels in the smallest unsigned type that holds them: 8, 16 or 32 bits."""
    high = int(array.max(initial=0))
    for dtype in (np.uint8, np.uint16):
        if high <= np.iinfo(dtype).max:
            return array.astype(dtype, copy=False)
    return array.astype(np.uint32, copy=False)


@contextlib.contextmanager
def written_whole(path: Path | str) -> Iterator[Path]:
    """`output_file` for libraries that write images: what they raise, or a disk that is full, becomes one line."""
    with output_file(path) as temporary:
        try:
            yield temporary
        except (RuntimeError, UserError) as error:
            # ITK does not pass on why a write failed; a full disk is by far the most common reason.
            full = shutil.disk_usage(temporary.parent).free < _NEARLY_FULL
            reason = "the disk is full" if full else itk_reason(error)
            raise UserError(code=Code.NOT_WRITABLE, subject=path, found=f"could not be written: {reason}") from error


def write_table(path: Path | str, rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> None:
    """Rows as CSV (UTF-8, one header line with the `columns`, by default the first row's keys). Raises UserError when
    it cannot be written."""
    with output_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        columns = columns or list(rows[0] if rows else ())
        if not columns:
            return
        writer = csv.DictWriter(stream, fieldnames=columns)
        writer.writeheader()
        for row in rows:
            cells = {}
            for key, value in row.items():
                # Numbers may be negative; texts that begin like a formula must not become one.
                cells[key] = _text(value) if isinstance(value, (int, float)) else csv_cell(_text(value))
            writer.writerow(cells)


def format_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as text for a screen: aligned columns, numbers to the right, no trailing blanks."""
    if not rows:
        return ""
    columns = []
    for name in rows[0]:
        values = [row.get(name) for row in rows]
        texts = [name, *(one_line(_text(value)) for value in values)]
        width = max(map(len, texts))
        # A line between the titles and the rows.
        texts.insert(1, "-" * width)
        are_numbers = all(isinstance(value, (int, float, type(None))) for value in values)
        columns.append([text.rjust(width) if are_numbers else text.ljust(width) for text in texts])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, (list, tuple)):
        return "; ".join(map(str, value))
    return str(value)
