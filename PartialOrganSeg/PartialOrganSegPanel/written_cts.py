"""CTs that were written before and have not changed since: linked instead of written once more."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import slicer
import vtk

from .ct_file import CtFile, write_ct


@dataclass
class WrittenCts:
    """Remembers where this session's runs wrote which CT; a file that is gone by now is written anew."""

    _of: dict[tuple[object, ...], CtFile] = field(default_factory=dict)

    def write(self, volume: slicer.vtkMRMLScalarVolumeNode, path: Path, final: Path) -> CtFile:
        """As `write_ct`; `final` is where the file will lie. A hard link costs neither time nor room, and outlives the
        run that it was taken from."""
        state = _state(volume)
        known = self._of.get(state)
        try:
            if known is None:
                raise FileNotFoundError(path)
            os.link(known.path, path)
            written = replace(known, path=path)
        except OSError:  # nothing known, gone, or another disk
            written = write_ct(volume, path)
        self._of[state] = replace(written, path=final)
        return written


def _state(volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[object, ...]:
    """Changes with the voxels, the geometry and the transforms of a CT. Times of change are never given twice."""
    matrix, transform = vtk.vtkMatrix4x4(), volume.GetParentTransformNode()
    volume.GetIJKToRASMatrix(matrix)
    own = tuple(matrix.GetElement(row, column) for row in range(3) for column in range(4))
    moved = (transform.GetID(), transform.GetTransformToWorldMTime()) if transform else ()
    return (volume.GetID(), volume.GetImageData().GetMTime(), *own, *moved)
