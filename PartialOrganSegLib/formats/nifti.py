"""NIfTI voxels and header, read so that a damaged file is noticed.

ITK fills a truncated NIfTI file with zeros, replaces a spacing of zero by 1 mm and drops a sheared sform, all without a
word. So the voxels are read here (once, checked against the gzip checksum), and ITK is asked for the geometry only.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..imaging.shapes import Spacing3, VoxelArray
from ..imaging.volume import Grid
from ..memory_claims import check_claim
from .checks import surplus_bytes

_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_COLOUR_OR_COMPLEX = {32: "complex numbers", 1792: "complex numbers", 128: "RGB colours", 2304: "RGBA colours"}
# Name and millimetres of a unit; many programs leave it open and mean millimetres, as everybody reads them.
_UNITS = {0: ("no unit", 1.0), 1: ("metres", 1000.0), 2: ("millimetres", 1.0), 3: ("micrometres", 0.001)}
_LONGEST_QUATERNION = 1.01  # the square of its length; more is no rounding
_PIECE = 16 << 20  # bytes that are read at once
_MOST_SURPLUS = 1 << 12  # bytes after the voxels; more are not looked at
_SILENT = Reporter()
_LPS = np.diag([-1.0, -1.0, 1.0])  # NIfTI's coordinates are RAS
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class NiftiHeader:
    """What is needed of a header: `size` (x, y, z, ...), `pixdim` mm, `sform` and `qform` (3, 4) LPS mm or None."""

    size: tuple[int, ...]
    dtype: np.dtype[Any]
    pixdim: Spacing3
    offset: int
    slope: float
    intercept: float
    sform: npt.NDArray[np.float64] | None
    qform: npt.NDArray[np.float64] | None

    def grid_of(self, form: npt.NDArray[np.float64]) -> Grid:
        """Grid of the sform or qform, its axes possibly not at right angles. Raises ValueError for a column of zeros.
        """
        spacing = np.linalg.norm(form[:, :3], axis=0)
        if not (spacing > 0).all():
            raise ValueError("a column of zeros in the sform")
        width, height, depth = self.size[:3]
        dx, dy, dz = spacing.tolist()
        x, y, z = form[:, 3].tolist()
        cosines = form[:, :3] / spacing
        return Grid((width, height, depth), (dx, dy, dz), (x, y, z), tuple(cosines.ravel().tolist()))


def is_nifti(path: Path) -> bool:
    """Whether the file's name says NIfTI in one file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read_nifti(path: Path, reporter: Reporter = _SILENT) -> tuple[NiftiHeader, VoxelArray]:
    """Header and voxels (z, y, x) of a 3-D scalar NIfTI file, scaled by its slope and intercept.

    What is odd and can be mended is warned of. Raises UserError for what is no NIfTI file, is truncated or corrupt, or
    holds anything but one scalar volume.
    """
    try:
        with _open(path) as stream:
            header = _read_header(path, stream, reporter)
            is_packed = isinstance(stream, gzip.GzipFile)
            claimed = math.prod(header.size[:3]) * header.dtype.itemsize
            stored = path.stat().st_size - (0 if is_packed else header.offset)
            check_claim(path, claimed, max(stored, 0), is_packed)
            voxels = np.empty(header.size[2::-1], header.dtype)
            stream.seek(header.offset)
            bytes_read = _fill(voxels, stream)
            surplus = 0
            # To the end, where gzip's checksum is compared; a member after the other may be there without end.
            while surplus <= _MOST_SURPLUS and (piece := stream.read(_PIECE)):
                surplus += len(piece)
    except EOFError as error:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="a whole gzip file",
                        found="one that ends too early (truncated)") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="a gzip-compressed NIfTI file",
                        found="damaged data") from error
    if bytes_read != voxels.nbytes:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected=f"{voxels.nbytes} bytes of voxels",
                        found=f"{bytes_read} (truncated)")
    surplus_bytes(path, surplus, reporter)
    return header, _scaled(voxels, header)


def _fill(voxels: VoxelArray, stream: gzip.GzipFile | io.BufferedReader) -> int:
    """Reads voxels piece by piece, because gzip copies each piece once; the number of bytes that there were."""
    target = voxels.data.cast("B")
    filled = 0
    while filled < len(target):
        count = stream.readinto(target[filled:filled + _PIECE])
        if not count:
            break
        filled += count
    return filled


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    """The file, unpacked where it is packed, whatever its name says."""
    with open(path, "rb") as plain:
        magic = plain.read(2)
    if not magic:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a NIfTI file", found="an empty file")
    if magic == _GZIP:
        return gzip.open(path, "rb")
    return open(path, "rb")


def _read_header(path: Path, stream: gzip.GzipFile | io.BufferedReader, reporter: Reporter) -> NiftiHeader:
    # The longer header of NIfTI-2; of a NIfTI-1 file these are its 348 bytes and some more.
    raw = stream.read(540)
    start = raw[:4].ljust(4, b"\0")
    for order in "<>":
        length = struct.unpack(order + "i", start)[0]
        magic = {348: raw[344:347], 540: raw[4:7]}.get(length, b"")
        if magic in (b"ni1", b"ni2"):
            raise pair_refused(path)
        if length == 348 and magic == b"n+1" and len(raw) >= 348:
            return _header(path, order, _nifti1(raw, order), reporter)
        if length == 540 and magic == b"n+2" and len(raw) >= 540:
            return _header(path, order, _nifti2(raw, order), reporter)
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
    quaternion: tuple[float, ...]  # b, c, d and the offset in x, y, z
    sform_rows: tuple[float, ...]
    units: int
    least_offset: int
    extended: bool


def _nifti1(raw: bytes, order: str) -> _Fields:
    def at(offset: int, kinds: str) -> tuple[Any, ...]:
        return struct.unpack_from(order + kinds, raw, offset)

    slope, intercept = at(112, "2f")
    qform, sform = at(252, "2h")
    return _Fields(at(40, "8h"), at(70, "h")[0], at(76, "8f"), at(108, "f")[0], slope, intercept, qform, sform,
                   at(256, "6f"), at(280, "12f"), raw[123], 352, raw[348:349] not in (b"", b"\0"))


def _nifti2(raw: bytes, order: str) -> _Fields:
    def at(offset: int, kinds: str) -> tuple[Any, ...]:
        return struct.unpack_from(order + kinds, raw, offset)

    slope, intercept = at(176, "2d")
    qform, sform = at(344, "2i")
    return _Fields(at(16, "8q"), at(12, "h")[0], at(104, "8d"), at(168, "q")[0], slope, intercept, qform, sform,
                   at(352, "6d"), at(400, "12d"), at(500, "i")[0], 544, True)


def _header(path: Path, order: str, fields: _Fields, reporter: Reporter) -> NiftiHeader:
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
    millimetres = _millimetres(path, fields.units & 7, reporter)  # the upper bits are the unit of time
    if not np.isfinite([fields.slope, fields.intercept]).all():
        raise UserError(code=Code.VOXELS_UNUSABLE, subject=path, expected="a finite scl_slope and scl_inter",
                        found=f"{fields.slope:g} and {fields.intercept:g}")
    sform = None
    if fields.sform > 0:
        sform = _LPS @ np.asarray(fields.sform_rows, float).reshape(3, 4) * millimetres
    qform = None
    b, c, d = map(float, fields.quaternion[:3])
    is_rotation = b * b + c * c + d * d < _LONGEST_QUATERNION
    if fields.qform > 0 and not is_rotation and sform is None:
        raise UserError(code=Code.GRID_UNUSABLE, subject=path, expected="a rotation in the qform, a quaternion of "
                        "length 1", found=f"{b:g}, {c:g} and {d:g} of it")
    if fields.qform > 0 and is_rotation:
        qform = _LPS @ _qform_rows(fields) * millimetres
    x_mm, y_mm, z_mm = (float(pixel) * millimetres for pixel in fields.pixdim[1:4])
    return NiftiHeader(size, np.dtype(order + _DTYPES[datatype]), (x_mm, y_mm, z_mm), _offset(path, fields, reporter),
                       float(fields.slope), float(fields.intercept), sform, qform)


def _qform_rows(fields: _Fields) -> npt.NDArray[np.float64]:
    """The qform (3, 4): rotation by a unit quaternion, voxel sizes, and a last axis that may be flipped (NIfTI-1's
    METHOD 2)."""
    b, c, d, x, y, z = map(float, fields.quaternion)
    squared_real = 1 - (b * b + c * c + d * d)
    # Rounding may leave a little less than none; then the three are the whole of it.
    if squared_real < 1e-7:
        length = math.sqrt(b * b + c * c + d * d)
        b, c, d, a = b / length, c / length, d / length, 0.0
    else:
        a = math.sqrt(squared_real)
    rotation = np.array([[a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                         [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                         [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b]])
    flip = -1.0 if fields.pixdim[0] < 0 else 1.0
    sizes = np.asarray(fields.pixdim[1:4], float) * (1.0, 1.0, flip)
    with np.errstate(invalid="ignore"):  # sizes that are infinite are refused later
        return np.hstack([rotation * sizes, [[x], [y], [z]]])


def _offset(path: Path, fields: _Fields, reporter: Reporter) -> int:
    """Where the voxels begin: after the header at the earliest."""
    offset, earliest = fields.offset, fields.least_offset
    # Some programs write 0 and mean "right behind the header", where extensions would be in the way.
    if offset == 0 and not fields.extended:
        reporter.warning(Problem(Code.FILE_DAMAGED, str(path), f"a vox_offset of {earliest} or more", "0",
                                 f"the voxels are read from byte {earliest} on"))
        return earliest
    if not (math.isfinite(offset) and offset >= earliest and offset == int(offset)):
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected=f"a vox_offset of {earliest} or more",
                        found=f"{offset:g}")
    return int(offset)


def _millimetres(path: Path, unit: int, reporter: Reporter) -> float:
    """Millimetres in the header's unit of length. Raises UserError for a unit that NIfTI does not have."""
    if unit not in _UNITS:
        raise UserError(code=Code.GRID_UNUSABLE, subject=path, expected="a unit of length (xyzt_units 0 to 3)",
                        found=unit)
    name, millimetres = _UNITS[unit]
    if millimetres != 1:
        reporter.warning(Problem(Code.GRID_ADJUSTED, str(path), "a grid in millimetres", name,
                                 "lengths are turned into millimetres"))
    return millimetres


def pair_refused(path: Path) -> UserError:
    """The error for a header whose voxels are in an .img beside it."""
    return UserError(code=Code.WRONG_FORMAT, subject=path, expected="a NIfTI in one file (.nii or .nii.gz)",
                     found="one half of a pair of header and voxels (.hdr and .img)",
                     hint="convert the pair: open it in 3D Slicer and save it as .nii.gz")


def _times(size: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in size)


def _scaled(voxels: VoxelArray, header: NiftiHeader) -> VoxelArray:
    """The voxels in the machine's byte order, scaled as the header says; integers stay integers where they can."""
    if not voxels.dtype.isnative:
        voxels = voxels.astype(voxels.dtype.newbyteorder("="))
    slope, intercept = header.slope, header.intercept
    if slope == 0 or (slope, intercept) == (1.0, 0.0):
        return voxels  # a slope of 0 means "not scaled" (NIfTI-1 standard)
    # int64 because a whole slope may lead out of the stored type; `to_hu` finds the smallest one later.
    if voxels.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer():
        return voxels.astype(np.int64) * int(slope) + int(intercept)
    if voxels.dtype == np.float64:
        return voxels * slope + intercept
    return voxels.astype(np.float32) * slope + intercept
