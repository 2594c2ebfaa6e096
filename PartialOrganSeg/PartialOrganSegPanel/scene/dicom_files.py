"""The DICOM files that a CT of the scene was loaded from, gathered in a folder that holds nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path

import slicer


def series_files(volume: slicer.vtkMRMLScalarVolumeNode) -> list[Path]:
    """The CT's files by Slicer's DICOM database, in the order of its slices; none where one of them is missing there,
    or the CT was not loaded from DICOM."""
    uids = (volume.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)  # a Slicer may be built without DICOM
    if not uids or database is None:
        return []
    files = [Path(database.fileForInstance(uid) or "") for uid in uids]
    if not all(file.is_file() for file in files):
        return []
    return list(dict.fromkeys(files))  # the slices of a multi-frame file are one file


def gather(files: Sequence[Path], folder: Path) -> Generator[None, None, None]:
    """Links the files into a new folder, or copies them from another disk; a step is a file. Raises OSError.

    Their own folders may hold other series, of which the command would have to choose one.
    """
    folder.mkdir()
    for number, file in enumerate(files):
        target = folder / f"{number:05d}.dcm"
        try:
            os.link(file, target)
        except OSError:
            shutil.copyfile(file, target)
        yield
