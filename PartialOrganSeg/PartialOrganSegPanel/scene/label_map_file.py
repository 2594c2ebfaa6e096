"""Writes a label map slab by slab in the format of its file's name: NRRD, NIfTI or MetaImage."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import numpy as np
import slicer.util
import vtk

from .ct_identity import CtIdentity
from .file_identity import NIFTI_TEXT, nrrd_line
from .nrrd_pieces import nrrd_header, write_slabs

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
_NIFTI_BYTES = 352  # of the header and the four bytes that say that nothing follows it
_LEVEL = 1  # of compression: a label map is small at any
_GZIP = 16 + zlib.MAX_WBITS


def write_label_map(path: Path, suffix: str, size: tuple[int, int, int], ijk_to_ras: vtk.vtkMatrix4x4,
                    slabs: Iterable[np.ndarray], identity: CtIdentity) -> Generator[None, None, None]:
    """Writes an image of uint8 voxels of `size` (i, j, k) from its `slabs` (z, y, x), in the format of `suffix`, one of
    `SUFFIXES`. The identity of its CT is noted where the format has a place for it. A step is a slab. Raises OSError.
    """
    matrix = slicer.util.arrayFromVTKMatrix(ijk_to_ras)
    if suffix == ".nrrd":
        header = nrrd_header(size, np.dtype(np.uint8), ijk_to_ras, nrrd_line(identity))
    elif suffix == ".mha":
        header = _meta_image_header(size, matrix)
    else:
        header = _nifti_header(size, matrix, identity)
    if suffix == ".nii.gz":
        yield from write_slabs(path, b"", _packed(header, slabs))
        return
    yield from write_slabs(path, header, slabs)


def _packed(header: bytes, slabs: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The gzip stream of all of it, slab by slab."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    yield np.frombuffer(packer.compress(header), np.uint8)
    for slab in slabs:
        yield np.frombuffer(packer.compress(slab.data), np.uint8)
    yield np.frombuffer(packer.flush(), np.uint8)


def _nifti_header(size: tuple[int, int, int], ijk_to_ras: np.ndarray, identity: CtIdentity) -> bytes:
    """As nifti1.h has it. The matrix alone (sform) says where the voxels lie: a quaternion would round it."""
    header = bytearray(_NIFTI_BYTES)
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *size, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)  # uint8, of 8 bits
    # the first number says which way a quaternion turns, which there is none of
    struct.pack_into("<4f", header, 76, 1.0, *spacing)
    struct.pack_into("<3f", header, 108, float(_NIFTI_BYTES), 1.0, 0.0)  # where the voxels begin; no rescaling
    header[123] = 2  # millimetres
    start, end = NIFTI_TEXT
    header[start:end] = identity.text().encode().ljust(end - start, b"\0")
    struct.pack_into("<2h", header, 252, 0, 1)  # no quaternion, a matrix in the scanner's coordinates
    struct.pack_into("<12f", header, 280, *ijk_to_ras[:3].ravel())
    header[344:348] = b"n+1\0"
    return bytes(header)


def _meta_image_header(size: tuple[int, int, int], ijk_to_ras: np.ndarray) -> bytes:
    to_lps = np.diag([-1.0, -1.0, 1.0]) @ ijk_to_ras[:3]
    spacing = np.linalg.norm(to_lps[:, :3], axis=0)
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False",
             "CompressedData = False",
             # an axis after the other, as ITK reads them
             f"TransformMatrix = {_numbers((to_lps[:, :3] / spacing).T.ravel())}",
             f"Offset = {_numbers(to_lps[:, 3])}", "CenterOfRotation = 0 0 0", f"ElementSpacing = {_numbers(spacing)}",
             f"DimSize = {' '.join(map(str, size))}", "ElementType = MET_UCHAR", "ElementDataFile = LOCAL"]
    return ("\n".join(lines) + "\n").encode()


def _numbers(numbers: Iterable[float]) -> str:
    return " ".join(repr(float(number)) for number in numbers)
