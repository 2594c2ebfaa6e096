"""The content of a CT as one checksum, whatever its files are called and whenever they were written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import Code, UserError
from ..formats.detached import files_of_image
from ..formats.dicom_export import ENDINGS as DICOM_ENDINGS
from ..formats.folder_files import refuse_pipe
from ..models.checksums import sha256
from ..segmenting.result_files import ENDINGS


def is_result(path: Path) -> bool:
    """Whether a file is named as our results are."""
    return path.name.endswith((*ENDINGS.values(), *DICOM_ENDINGS.values()))


def dicom_files(folder: Path) -> Iterator[Path]:
    """The DICOM files in a CT's folder and below it, without our results and what is hidden there."""
    from ..formats import dicom_slices

    for file in dicom_slices.dicom_files(folder):
        if not is_result(file):
            yield file


def fingerprint(path: Path) -> str:
    """SHA-256 of a CT's content: of a file, of a header and the voxels that it names, or of a folder's DICOM files.

    Names and times do not count, nor do our results in the folder. Raises UserError when it cannot be read.
    """
    if not os.path.exists(path):  # False as well for a name that no file can have; Path.exists raises for some
        raise UserError(code=Code.FILE_MISSING, subject=path, expected="a CT file or a DICOM folder",
                        found="nothing there")
    refuse_pipe(path)
    try:
        # Sorted sums, not names: a DICOM folder whose files were renamed holds the same CT.
        sums = sorted(sha256(file) for file in _files(path))
    except OSError as error:
        raise UserError(code=Code.NOT_READABLE, subject=path, expected="a CT that can be read",
                        found=error.strerror or error) from error
    return sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return list(dicom_files(path))
    return files_of_image(path)
