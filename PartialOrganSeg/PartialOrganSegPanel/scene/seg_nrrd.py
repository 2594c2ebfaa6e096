"""Reads the library's .seg.nrrd in pieces, and of its one layer only the box that holds organs: Slicer's own reader
holds the window for seconds at the size of a whole abdomen."""

from __future__ import annotations

import math
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from .voxel_counts import BINARY, SCALARS, Box

PIECE_BYTES = 4 << 20  # of voxels, unpacked in some milliseconds
_TYPES = {"unsigned char": np.uint8, "uchar": np.uint8, "uint8": np.uint8, "uint8_t": np.uint8,
          "unsigned short": np.uint16, "ushort": np.uint16, "uint16": np.uint16, "uint16_t": np.uint16}
_LONGEST_HEADER = 1 << 20


class UnreadableSegments(Exception):
    """The file is no segmentation of the library's."""


def read_segments(path: Path, size: tuple[int, int, int],
                  ijk_to_ras: vtk.vtkMatrix4x4) -> Generator[None, None, slicer.vtkSegmentation]:
    """The file's segments on the voxels that `ijk_to_ras` places, `size` (i, j, k) of them. Raises OSError and
    UnreadableSegments."""
    with open(path, "rb") as file:
        fields = _header(file)
        if tuple(map(int, fields.get("sizes", "").split())) != tuple(size) or fields.get("type") not in _TYPES:
            raise UnreadableSegments(path)
        dtype = np.dtype(_TYPES[fields["type"]])
        if dtype.itemsize > 1 and fields.get("endian") == "big":
            dtype = dtype.newbyteorder(">")
        box = _box(fields)
        layer = None
        if box is not None:
            layer = yield from _layer(file, fields.get("encoding", ""), size, dtype, box)
    return _segmentation(fields, layer, box, ijk_to_ras)


def is_whole(path: Path) -> bool:
    """Whether a .seg.nrrd that was written without compression has all its voxels: Slicer's own reader does not look,
    and may take the whole program along. Raises OSError."""
    try:
        with open(path, "rb") as file:
            fields, start = _header(file), file.tell()
        dtype = np.dtype(_TYPES[fields["type"]])
        size = math.prod(map(int, fields["sizes"].split()))
    except (UnreadableSegments, KeyError, ValueError):
        return False
    # an empty segmentation has an image of one voxel
    return fields.get("encoding") != "raw" or path.stat().st_size >= start + size * dtype.itemsize


def _header(file: Iterator[bytes]) -> dict[str, str]:
    """The fields of a NRRD header, up to its empty line."""
    fields: dict[str, str] = {}
    read = 0
    for line in file:
        read += len(line)
        if not line.strip():
            return fields
        if read > _LONGEST_HEADER:
            break
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        name, separator, value = text.partition(":=")
        if not separator:
            name, _, value = text.partition(": ")
        fields[name] = value
    raise UnreadableSegments("no end of the header")


def _numbers(fields: dict[str, str]) -> list[str]:
    """What the segments of the header are numbered by."""
    return [name.removeprefix("Segment").removesuffix("_ID") for name in fields
            if name.startswith("Segment") and name.endswith("_ID")]


def _box(fields: dict[str, str]) -> Box | None:
    """Around all segments, None where there is none."""
    extents = [[int(place) for place in fields[f"Segment{number}_Extent"].split()] for number in _numbers(fields)]
    if not extents:
        return None
    low, high = np.min(extents, axis=0)[::2].tolist(), np.max(extents, axis=0)[1::2].tolist()
    return (low[0], high[0], low[1], high[1], low[2], high[2])


def _layer(file: Iterator[bytes], encoding: str, size: tuple[int, int, int], dtype: np.dtype,
           box: Box) -> Generator[None, None, np.ndarray]:
    """The voxels (z, y, x) of the box."""
    i0, i1, j0, j1, k0, k1 = box
    layer = np.zeros((k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1), dtype.newbyteorder("="))
    page_bytes = size[0] * size[1] * dtype.itemsize
    pending, k = bytearray(), 0
    for piece in _unpacked(file, encoding):
        pending += piece
        while len(pending) >= page_bytes and k <= k1:
            if k >= k0:
                page = np.frombuffer(pending, dtype, size[0] * size[1]).reshape(size[1], size[0])
                layer[k - k0] = page[j0:j1 + 1, i0:i1 + 1]
                del page  # else its memory could not be cut below
            del pending[:page_bytes]
            k += 1
        yield
        if k > k1:
            return layer
    raise UnreadableSegments("fewer voxels than the header says")


def _unpacked(file: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """The voxels' bytes in pieces."""
    if encoding == "raw":
        while piece := file.read(PIECE_BYTES):
            yield piece
        return
    if encoding not in ("gzip", "gz"):
        raise UnreadableSegments(encoding)
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)  # with gzip's header
    try:
        while packed := file.read(1 << 16):
            # nearly all voxels are 0: some bytes may be unpacked to the whole
            while packed:
                yield unpack.decompress(packed, PIECE_BYTES)
                packed = unpack.unconsumed_tail
        yield unpack.flush()
    except zlib.error as error:
        raise UnreadableSegments(error) from error


def _segmentation(fields: dict[str, str], layer: np.ndarray | None, box: Box | None,
                  ijk_to_ras: vtk.vtkMatrix4x4) -> slicer.vtkSegmentation:
    segmentation = slicer.vtkSegmentation()
    segmentation.SetSourceRepresentationName(BINARY)
    image = None
    if layer is not None and box is not None:
        image = slicer.vtkOrientedImageData()
        image.SetGeometryFromImageToWorldMatrix(ijk_to_ras)
        image.SetExtent(box)
        scalars = numpy_to_vtk(layer.ravel())
        scalars.SetName(SCALARS)
        image.GetPointData().SetScalars(scalars)
    for number in _numbers(fields):
        segment = slicer.vtkSegment()
        segment.SetName(fields[f"Segment{number}_Name"])
        segment.SetColor([float(part) for part in fields[f"Segment{number}_Color"].split()])
        segment.SetNameAutoGenerated(False)
        segment.SetColorAutoGenerated(False)
        segment.SetLabelValue(int(fields[f"Segment{number}_LabelValue"]))
        for tag in fields.get(f"Segment{number}_Tags", "").split("|"):
            name, _, value = tag.partition(":")
            if name:
                segment.SetTag(name, value)
        if image is not None:
            segment.AddRepresentation(BINARY, image)
        segmentation.AddSegment(segment, fields[f"Segment{number}_ID"])
    return segmentation
