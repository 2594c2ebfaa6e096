"""A DICOM file's header as pydicom reads it, with one line for a file that it cannot read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Code, UserError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def read_header(file: Path, only: Sequence[str] | None = None) -> Dataset:
    """Everything before the pixels, of a file without preamble as well; `only`: these attributes by their keywords.

    Raises UserError for a file that pydicom cannot read.
    """
    from pydicom import dcmread

    tags = None if only is None else list(only)
    try:
        return dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)
    # A damaged file makes pydicom raise whatever its parser ran into: struct.error, KeyError, NotImplementedError...
    except Exception as error:
        raise UserError(code=Code.FILE_DAMAGED, subject=file, expected="a DICOM header that is whole",
                        found="a damaged one") from error
