"""Writes a segmentation as .seg.nrrd in pieces: Slicer's own writer holds the window for seconds at the size of a whole
abdomen. What the header says of the segments is Slicer's own text, of a copy without voxels."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from .nrrd_pieces import slab_bounds, write_slabs
from .nrrd_pieces import vector as nrrd_vector
from .voxel_counts import Box, have_same_voxels, labelmap, voxel_array

_OF_VOXELS = re.compile(r"(type|dimension|space|sizes|space directions|kinds|endian|encoding|space origin): "
                        r"|Segment\d+_(Extent|LabelValue|Layer):=|Segmentation_ReferenceImageExtentOffset:=")


def write_segmentation(node: slicer.vtkMRMLSegmentationNode, path: Path) -> Generator[None, None, None]:
    """Writes all segments; a piece is some milliseconds. Raises OSError, also where they are edited meanwhile."""
    segments = node.GetSegmentation()
    in_order = [segments.GetSegment(segment_id) for segment_id in segments.GetSegmentIDs()]
    layers = list(dict.fromkeys(filter(None, map(labelmap, in_order))))
    if not layers or not all(have_same_voxels(layers[0], layer) for layer in layers):
        _write_at_once(node, path)
        return
    facts = _facts_without_voxels(node, path)
    box = _around(layers)
    head = [*facts[:1], *_geometry(layers, box), *facts[1:]]
    for number, segment in enumerate(in_order):
        image, layer, extent = labelmap(segment), 0, (0, -1, 0, -1, 0, -1)
        if image is not None:
            layer, extent = layers.index(image), _within(image.GetExtent(), box)
        head += [f"Segment{number}_Extent:={' '.join(map(str, extent))}",
                 f"Segment{number}_LabelValue:={segment.GetLabelValue()}", f"Segment{number}_Layer:={layer}"]
    head.append(f"Segmentation_ReferenceImageExtentOffset:={box[0]} {box[2]} {box[4]}")
    yield
    yield from write_slabs(path, ("\n".join(head) + "\n\n").encode(), _slabs(node, layers, box))


def _write_at_once(node: slicer.vtkMRMLSegmentationNode, path: Path) -> None:
    # a storage node of its own: the node's keeps the file that the user saved it to. To compress takes seconds
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetScene(slicer.mrmlScene)
    storage.SetFileName(str(path))
    storage.SetUseCompression(0)
    if not storage.WriteData(node) or not path.is_file():
        raise OSError(_("{path}: the segmentation could not be written; is the disk full?").format(path=path))


def _facts_without_voxels(node: slicer.vtkMRMLSegmentationNode, path: Path) -> list[str]:
    """The lines of the header that Slicer writes of the segments' names, colours and tags, but for those of voxels."""
    copy = slicer.vtkMRMLSegmentationNode()
    source, bare = node.GetSegmentation(), copy.GetSegmentation()
    bare.SetSourceRepresentationName(source.GetSourceRepresentationName())
    bare.DeserializeConversionParameters(source.SerializeAllConversionParameters())
    for segment_id in source.GetSegmentIDs():
        segment = slicer.vtkSegment()
        segment.DeepCopyMetadata(source.GetSegment(segment_id))
        bare.AddSegment(segment, segment_id)
    _write_at_once(copy, path)
    text = path.read_bytes().partition(b"\n\n")[0].decode("utf-8")
    path.unlink()
    return [line for line in text.splitlines() if not _OF_VOXELS.match(line)]


def _around(layers: list[slicer.vtkOrientedImageData]) -> Box:
    extents = np.array([layer.GetExtent() for layer in layers])
    low, high = extents[:, ::2].min(0).tolist(), extents[:, 1::2].max(0).tolist()
    return (low[0], high[0], low[1], high[1], low[2], high[2])


def _within(extent: Box, box: Box) -> tuple[int, ...]:
    """An extent in indices of the file."""
    return tuple(place - box[2 * (number // 2)] for number, place in enumerate(extent))


def _geometry(layers: list[slicer.vtkOrientedImageData], box: Box) -> list[str]:
    matrix = vtk.vtkMatrix4x4()
    layers[0].GetImageToWorldMatrix(matrix)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ slicer.util.arrayFromVTKMatrix(matrix)
    origin = (to_lps @ [box[0], box[2], box[4], 1])[:3]
    axes = " ".join(nrrd_vector(to_lps[:3, axis]) for axis in range(3))
    sizes = " ".join(str(box[axis + 1] - box[axis] + 1) for axis in (0, 2, 4))
    kind = "unsigned char"
    if any(layer.GetScalarSize() > 1 for layer in layers):
        kind = "unsigned short"
    lines = [f"type: {kind}", "dimension: 3", "space: left-posterior-superior", f"sizes: {sizes}",
             f"space directions: {axes}", "kinds: domain domain domain"]
    if len(layers) > 1:  # the layers lie beside each other, voxel by voxel
        lines = [f"type: {kind}", "dimension: 4", "space: left-posterior-superior", f"sizes: {len(layers)} {sizes}",
                 f"space directions: none {axes}", "kinds: list domain domain domain"]
    return [*lines, "endian: little", "encoding: raw", f"space origin: {nrrd_vector(origin)}"]


def _slabs(node: slicer.vtkMRMLSegmentationNode, layers: list[slicer.vtkOrientedImageData],
           box: Box) -> Iterator[np.ndarray]:
    dtype = np.dtype("u1")
    if any(layer.GetScalarSize() > 1 for layer in layers):
        dtype = np.dtype("<u2")
    shape = (box[5] - box[4] + 1, box[3] - box[2] + 1, box[1] - box[0] + 1, len(layers))
    times = [layer.GetMTime() for layer in layers]
    for start, end in slab_bounds((shape[0], shape[1], shape[2] * shape[3]), dtype.itemsize):
        if [layer.GetMTime() for layer in layers] != times:
            raise OSError(_("{name}: the segments were changed while they were written.").format(name=node.GetName()))
        slab = np.zeros((end - start, *shape[1:]), dtype)
        for number, layer in enumerate(layers):
            i0, i1, j0, j1, k0, _k1 = _within(layer.GetExtent(), box)
            part = voxel_array(layer)[max(0, start - k0):max(0, end - k0)]
            first = max(k0, start) - start
            slab[first:first + len(part), j0:j1 + 1, i0:i1 + 1, number] = part
        yield slab
