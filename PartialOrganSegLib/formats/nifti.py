"""NIfTI voxels and header, read so that a damaged file is noticed.

ITK fills a truncated NIfTI file with zeros, replaces a spacing of zero by 1 mm and drops a sheared sform, all without a
word. So the voxels are read here (once, checked against the gzip checksum), and ITK is asked for the geometry only.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import Code, UserError
from ..imaging.shapes import Spacing3, VoxelArray
from ..imaging.volume import Grid

_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_COLOUR_OR_COMPLEX = {32: "complex numbers", 1792: "complex numbers", 128: "RGB colours", 2304: "RGBA colours"}
_UNIT_MM = {1: 1000.0, 3: 0.001}
_LPS = np.diag([-1.0, -1.0, 1.0])  # NIfTI's coordinates are RAS
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class NiftiHeader:
    """What is needed of a header: `size` (x, y, z, ...), `pixdim` mm, `sform` (3, 4) LPS mm or None."""

    size: tuple[int, ...]
    dtype: np.dtype[Any]
    pixdim: Spacing3
    offset: int
    slope: float
    intercept: float
    has_qform: bool
    sform: npt.NDArray[np.float64] | None

    def sform_grid(self) -> Grid:
        """Grid of the sform, its axes possibly not at right angles. Raises ValueError when a column is zero."""
        assert self.sform is not None
        spacing = np.linalg.norm(self.sform[:, :3], axis=0)
        if not (spacing > 0).all():
            raise ValueError("a column of zeros in the sform")
        width, height, depth = self.size[:3]
        dx, dy, dz = spacing.tolist()
        x, y, z = self.sform[:, 3].tolist()
        cosines = self.sform[:, :3] / spacing
        return Grid((width, height, depth), (dx, dy, dz), (x, y, z), tuple(cosines.ravel().tolist()))


def is_nifti(path: Path) -> bool:
    """Whether the file's name says NIfTI in one file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read_nifti(path: Path) -> tuple[NiftiHeader, VoxelArray]:
    """Header and voxels (z, y, x) of a 3-D scalar NIfTI file, scaled by its slope and intercept.

    Raises UserError for what is no NIfTI file, is truncated or corrupt, or holds anything but one scalar volume.
    """
    try:
        with _open(path) as stream:
            header = _read_header(path, stream)
            voxels = np.empty(header.size[2::-1], header.dtype)
            stream.seek(header.offset)
            bytes_read = stream.readinto(voxels.data.cast("B"))
            while stream.read(1 << 20):  # to the end, where gzip's checksum is compared
                pass
    except EOFError as error:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="a whole gzip file",
                        found="one that ends too early (truncated)") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="a gzip-compressed NIfTI file",
                        found=f"damaged data ({error})") from error
    if bytes_read != voxels.nbytes:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected=f"{voxels.nbytes} bytes of voxels",
                        found=f"{bytes_read} (truncated)")
    return header, _scaled(voxels, header)


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    """The file, unpacked where it is packed, whatever its name says."""
    with open(path, "rb") as plain:
        magic = plain.read(2)
    if not magic:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a NIfTI file", found="an empty file")
    if magic == _GZIP:
        return gzip.open(path, "rb")
    return open(path, "rb")


def _read_header(path: Path, stream: gzip.GzipFile | io.BufferedReader) -> NiftiHeader:
    # The longer header of NIfTI-2; of a NIfTI-1 file these are its 348 bytes and some more.
    raw = stream.read(540)
    start = raw[:4].ljust(4, b"\0")
    for order in "<>":
        length = struct.unpack(order + "i", start)[0]
        if length == 348 and raw[344:346] in (b"n+", b"ni") and len(raw) >= 348:
            return _header(path, order, _nifti1(raw, order))
        if length == 540 and raw[4:6] in (b"n+", b"ni") and len(raw) >= 540:
            return _header(path, order, _nifti2(raw, order))
    raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a NIfTI file",
                    found=f"other content (it starts with {raw[:12]!r})")


class _Fields(NamedTuple):
    """What both versions of the header hold, as it stands there."""

    dim: tuple[int, ...]
    datatype: int
    pixdim: tuple[float, ...]
    offset: float
    slope: float
    intercept: float
    qform: int
    sform: int
    sform_rows: tuple[float, ...]
    units: int


def _nifti1(raw: bytes, order: str) -> _Fields:
    def at(offset: int, kinds: str) -> tuple[Any, ...]:
        return struct.unpack_from(order + kinds, raw, offset)

    slope, intercept = at(112, "2f")
    qform, sform = at(252, "2h")
    return _Fields(at(40, "8h"), at(70, "h")[0], at(76, "8f"), at(108, "f")[0], slope, intercept, qform, sform,
                   at(280, "12f"), raw[123])


def _nifti2(raw: bytes, order: str) -> _Fields:
    def at(offset: int, kinds: str) -> tuple[Any, ...]:
        return struct.unpack_from(order + kinds, raw, offset)

    slope, intercept = at(176, "2d")
    qform, sform = at(344, "2i")
    return _Fields(at(16, "8q"), at(12, "h")[0], at(104, "8d"), at(168, "q")[0], slope, intercept, qform, sform,
                   at(400, "12d"), at(500, "i")[0])


def _header(path: Path, order: str, fields: _Fields) -> NiftiHeader:
    """Checks the fields. Raises UserError for anything but one scalar volume."""
    count = fields.dim[0]
    if not 1 <= count <= 7 or any(n < 1 for n in fields.dim[1:count + 1]):
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a NIfTI file",
                        found=f"impossible dimensions {list(fields.dim)}")
    size = fields.dim[1:count + 1]
    datatype = fields.datatype
    if datatype in _COLOUR_OR_COMPLEX:
        raise UserError(code=Code.NOT_A_VOLUME, subject=path, expected="one number a voxel",
                        found=_COLOUR_OR_COMPLEX[datatype])
    if datatype not in _DTYPES:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="integer or float voxels",
                        found=f"NIfTI data type {datatype}")
    if count < 3:
        raise UserError(code=Code.NOT_A_VOLUME, subject=path, expected="a 3-D volume",
                        found=f"a {count}-D image of size {_times(size)}")
    if any(n > 1 for n in size[4:]):
        raise UserError(code=Code.NOT_A_VOLUME, subject=path, expected="one number a voxel",
                        found=f"a vector image of size {_times(size)}")
    if len(size) > 3 and size[3] > 1:
        raise UserError(code=Code.NOT_A_VOLUME, subject=path, expected="one 3-D volume",
                        found=f"{size[3]} volumes (4-D image of {_times(size)})")
    millimetres = _UNIT_MM.get(fields.units & 7, 1.0)  # the upper bits are the unit of time
    sform = None
    if fields.sform > 0:
        sform = _LPS @ np.asarray(fields.sform_rows, float).reshape(3, 4) * millimetres
    x_mm, y_mm, z_mm = (float(pixel) * millimetres for pixel in fields.pixdim[1:4])
    return NiftiHeader(size, np.dtype(order + _DTYPES[datatype]), (x_mm, y_mm, z_mm), int(fields.offset),
                       float(fields.slope), float(fields.intercept), fields.qform > 0, sform)


def _times(size: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in size)


def _scaled(voxels: VoxelArray, header: NiftiHeader) -> VoxelArray:
    """The voxels in the machine's byte order, scaled as the header says; integers stay integers where they can."""
    if not voxels.dtype.isnative:
        voxels = voxels.astype(voxels.dtype.newbyteorder("="))
    slope, intercept = header.slope, header.intercept
    if slope == 0 or not np.isfinite([slope, intercept]).all() or (slope, intercept) == (1.0, 0.0):
        return voxels  # a slope of 0 means "not scaled" (NIfTI-1 standard)
    # int64 because a whole slope may lead out of the stored type; `to_hu` finds the smallest one later.
    if voxels.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer():
        return voxels.astype(np.int64) * int(slope) + int(intercept)
    if voxels.dtype == np.float64:
        return voxels * slope + intercept
    return voxels.astype(np.float32) * slope + intercept
