"""CTs that were written before and have not changed since: linked instead of written once more."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

import slicer
import slicer.util
import vtk

from .ct_file import CtFile, write_ct_steps


@dataclass
class WrittenCts:
    """Remembers where this session's runs wrote which CT; what is gone by now, or another file, is written anew: a run
    that was given up leaves its folder's and files' names to the next one."""

    _of: dict[tuple[object, ...], tuple[CtFile, tuple[int, ...]]] = field(default_factory=dict)

    def write(self, volume: slicer.vtkMRMLScalarVolumeNode, path: Path,
              final: Path) -> Generator[None, None, CtFile]:
        """As `write_ct_steps`; `final` is where the file will lie. A hard link costs neither time nor room, and
        outlives the run that it was taken from."""
        state = _state(volume)
        earlier, identity = self._of.get(state, (None, ()))
        try:
            if earlier is None or _identity(earlier.path) != identity:
                raise FileNotFoundError(path)
            os.link(earlier.path, path)
            written = replace(earlier, path=path)
        except OSError:  # nothing known, gone, another file, or another disk
            written = yield from write_ct_steps(volume, path)
        # the file that lay there before, of whatever CT, is replaced
        self._of = {volume_state: entry for volume_state, entry in self._of.items() if entry[0].path != final}
        self._of[state] = replace(written, path=final), _identity(path)
        return written


def _identity(path: Path) -> tuple[int, ...]:
    """Stays when a file or its folder is renamed and when it is linked, changes when it is written."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _state(volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[object, ...]:
    """Changes with the voxels, the geometry and the transforms of a CT. Times of change are never given twice."""
    matrix, transform = vtk.vtkMatrix4x4(), volume.GetParentTransformNode()
    volume.GetIJKToRASMatrix(matrix)
    geometry = slicer.util.arrayFromVTKMatrix(matrix)[:3].ravel().tolist()
    moved = ()
    if transform is not None:
        moved = (transform.GetID(), transform.GetTransformToWorldMTime())
    return (volume.GetID(), volume.GetImageData().GetMTime(), *geometry, *moved)
