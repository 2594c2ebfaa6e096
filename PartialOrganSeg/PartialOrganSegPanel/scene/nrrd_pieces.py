"""Writes a NRRD file slab by slab, so that the window goes on working while a large image is written."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator, Iterable
from pathlib import Path

import numpy as np
import slicer.util
import vtk

SLAB_BYTES = 8 << 20  # are written in some milliseconds, even to a slow disk's cache
SYNC_WAIT_S = 0.005
_TYPES = {"int8": "int8", "uint8": "uint8", "int16": "int16", "uint16": "uint16", "int32": "int32",
          "uint32": "uint32", "int64": "int64", "uint64": "uint64", "float32": "float", "float64": "double"}


def slab_bounds(shape: tuple[int, ...], itemsize: int) -> list[tuple[int, int]]:
    """First and last but one slice of each slab of an array (z, y, x)."""
    thickness = max(1, SLAB_BYTES // max(1, itemsize * shape[1] * shape[2]))
    return [(start, min(start + thickness, shape[0])) for start in range(0, shape[0], thickness)]


def write_nrrd(path: Path, size: tuple[int, int, int], dtype: np.dtype, ijk_to_ras: vtk.vtkMatrix4x4,
               slabs: Iterable[np.ndarray]) -> Generator[None, None, None]:
    """Writes an image of `size` (i, j, k) from its `slabs` (z, y, x), the lowest first; a step is a slab.

    Uncompressed: to compress a CT takes seconds. Raises OSError; what was written until then is the caller's to remove.
    """
    contiguous = (np.ascontiguousarray(slab, dtype) for slab in slabs)
    yield from write_slabs(path, nrrd_header(size, dtype, ijk_to_ras), contiguous)


def write_slabs(path: Path, header: bytes, slabs: Iterable[np.ndarray]) -> Generator[None, None, None]:
    """Writes a header and after it the bytes of contiguous arrays; a step is one of them. Raises OSError."""
    mode = "wb"
    if path.is_file() and not path.stat().st_size:
        mode = "rb+"  # what has been truncated, be it empty, ext4 writes to the disk before it closes it
    with open(path, mode) as file:
        file.write(header)
        for slab in slabs:
            file.write(slab.data)
            yield


def synced(path: Path) -> Generator[None, None, None]:
    """Waits until a file is on its disk, in pieces: a sync of hundreds of megabytes would hold the window."""
    errors: list[OSError] = []

    def sync() -> None:
        try:
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
        except OSError as error:  # raised below, in the thread that waits
            errors.append(error)

    thread = threading.Thread(target=sync, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(SYNC_WAIT_S)
        yield
    if errors:
        raise errors[0]


def nrrd_header(size: tuple[int, int, int], dtype: np.dtype, ijk_to_ras: vtk.vtkMatrix4x4,
                *notes: str) -> bytes:
    """Of an image of `size` (i, j, k); `notes` are further lines."""
    matrix = slicer.util.arrayFromVTKMatrix(ijk_to_ras)
    to_lps = np.diag([-1.0, -1.0, 1.0]) @ matrix[:3]
    axes = [vector(to_lps[:, axis]) for axis in range(3)]
    lines = ["NRRD0004", f"type: {_TYPES[dtype.name]}", "dimension: 3", "space: left-posterior-superior",
             f"sizes: {' '.join(map(str, size))}", f"space directions: {' '.join(axes)}",
             "kinds: domain domain domain", f"endian: {sys.byteorder}", "encoding: raw",
             f"space origin: {vector(to_lps[:, 3])}", *notes]
    return ("\n".join(lines) + "\n\n").encode()


def vector(numbers: np.ndarray) -> str:
    """A vector as a NRRD header has it."""
    # every digit: a rounded header would move the far corner of a large CT
    return f"({','.join(repr(float(number)) for number in numbers)})"
