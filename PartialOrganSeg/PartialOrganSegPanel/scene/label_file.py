"""Writes segments as one label map on the voxels of a CT, slab by slab, without a copy of the whole."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import Code, UserError

from .ct_file import CtFile
from .nrrd_pieces import slab_bounds, write_nrrd
from .segment_voxels import grid_shift, segment_array
from .voxel_counts import labelmap, voxel_array

_NOTHING = -1  # the value of a voxel that stays as it is: a stroke of background has 0


class ChangedMeanwhile(UserError):
    """The segments were edited while they were written: the file is neither of before nor of after."""

    CODE = Code.SETTINGS_CONFLICT


def write_labels(segmentation: slicer.vtkMRMLSegmentationNode, values: Mapping[str, int],
                 reference: slicer.vtkMRMLScalarVolumeNode, ijk_to_file: vtk.vtkMatrix4x4,
                 path: Path) -> Generator[None, None, dict[int, int]]:
    """Writes uint8 voxels, those of `reference`: `values` says which number each segment (by ID) gets.

    `ijk_to_file`: voxel indices to the file's coordinates. Of segments that overlap the later one of `values` counts;
    gives how many voxels each number has lost so. A step is a slab. Raises OSError, and ChangedMeanwhile when a segment
    is edited between two steps.
    """
    lost: Counter[int] = Counter()
    yield from write_label_layers([(segmentation, values)], reference, ijk_to_file, path, lost=lost)
    return dict(lost)


def write_label_layers(layers: Sequence[tuple[slicer.vtkMRMLSegmentationNode, Mapping[str, int]]],
                       reference: slicer.vtkMRMLScalarVolumeNode, ijk_to_file: vtk.vtkMatrix4x4, path: Path,
                       outside: int = 0, lost: Counter[int] | None = None) -> Generator[None, None, None]:
    """As `write_labels`, of several segmentations, the later over the earlier. `outside`: where no segment is; `lost`
    counts the voxels that a number loses to a later one."""
    size = tuple(reference.GetImageData().GetDimensions())
    yield from write_nrrd(path, size, np.dtype(np.uint8), ijk_to_file, label_slabs(layers, reference, outside, lost))


def label_slabs(layers: Sequence[tuple[slicer.vtkMRMLSegmentationNode, Mapping[str, int]]],
                reference: slicer.vtkMRMLScalarVolumeNode, outside: int = 0,
                lost: Counter[int] | None = None) -> Iterator[np.ndarray]:
    """The label map of `write_label_layers` in slabs of slices (see `slab_bounds`), uint8 (z, y, x). Raises
    ChangedMeanwhile when a segment is edited between two of them."""
    size = tuple(reference.GetImageData().GetDimensions())
    before = [_times(*layer) for layer in layers]
    parts = [part for layer in layers for part in _parts(*layer, reference)]
    for start, end in slab_bounds(size[::-1], 1):
        for layer, times in zip(layers, before, strict=True):
            if _times(*layer) != times:
                raise ChangedMeanwhile(_("{name}: organs were changed while they were written.").format(
                    name=layer[0].GetName()))
        slab = np.full((end - start, size[1], size[0]), outside, np.uint8)
        for number, part in enumerate(parts):
            if lost is None or not number:  # what is drawn first covers nothing
                part.draw(slab, start)
                continue
            without = slab.copy()
            part.draw(slab, start)
            values, voxels = np.unique(without[(without != slab) & (without != outside)], return_counts=True)
            lost.update(dict(zip(values.tolist(), voxels.tolist(), strict=True)))
        yield slab


@contextlib.contextmanager
def grid_of(volume: slicer.vtkMRMLScalarVolumeNode, ct: CtFile) -> Iterator[slicer.vtkMRMLScalarVolumeNode]:
    """A node with the voxels of a written CT: the volume itself, or for a CT that had to be resampled another one."""
    if ct.follows_volume:
        yield volume
        return
    node = slicer.util.addVolumeFromArray(np.zeros(ct.size[::-1], np.uint8), name="labels",
                                          ijkToRAS=slicer.util.arrayFromVTKMatrix(ct.ijk_to_ras),
                                          nodeClassName="vtkMRMLLabelMapVolumeNode")
    try:
        yield node
    finally:
        slicer.mrmlScene.RemoveNode(node)


def _times(segmentation: slicer.vtkMRMLSegmentationNode, values: Mapping[str, int]) -> list[int]:
    """Of the last change of each segment's layer; -1 for one that is gone, 0 for an empty one."""
    times = []
    for segment_id in values:
        segment = segmentation.GetSegmentation().GetSegment(segment_id)
        image = None
        if segment is not None:
            image = labelmap(segment)
        times.append(-1 if segment is None else 0)
        if image is not None:
            times[-1] = image.GetMTime()
    return times


class _Layer:
    """Segments of one layer whose voxels are the reference's, `shift` voxels (i, j, k) away."""

    def __init__(self, image: slicer.vtkOrientedImageData, shift: tuple[int, int, int]) -> None:
        i0, _i1, j0, _j1, k0, _k1 = image.GetExtent()
        self.image, self.array = image, voxel_array(image)
        self._start = (k0 + shift[2], j0 + shift[1], i0 + shift[0])
        self.table = np.full(256, _NOTHING, np.int16)  # label value in the layer to that in the file

    def draw(self, slab: np.ndarray, first: int) -> None:
        """Into slices from `first` on of the reference."""
        of_slab, of_layer = [], []
        for start, length, low, high in zip(self._start, self.array.shape, (first, 0, 0),
                                            (first + slab.shape[0], *slab.shape[1:]), strict=True):
            begin, end = max(start, low), min(start + length, high)
            if begin >= end:
                return
            of_slab.append(slice(begin - low, end - low))
            of_layer.append(slice(begin - start, end - start))
        numbers = self.table[self.array[tuple(of_layer)]]
        target = slab[tuple(of_slab)]
        np.copyto(target, numbers, where=numbers != _NOTHING, casting="unsafe")


class _Resampled:
    """A segment on other voxels than the reference's, resampled to them."""

    def __init__(self, mask: np.ndarray, value: int) -> None:
        self._mask, self._value = mask, value

    def draw(self, slab: np.ndarray, first: int) -> None:
        """Into slices from `first` on of the reference."""
        slab[self._mask[first:first + len(slab)]] = self._value


def _parts(segmentation: slicer.vtkMRMLSegmentationNode, values: Mapping[str, int],
           reference: slicer.vtkMRMLScalarVolumeNode) -> list[_Layer | _Resampled]:
    """What the file is drawn from, in the order of `values`; neighbours in one layer are drawn together."""
    parts: list[_Layer | _Resampled] = []
    for segment_id, value in values.items():
        segment = segmentation.GetSegmentation().GetSegment(segment_id)
        image = labelmap(segment)
        if image is None:
            continue
        shift = grid_shift(image, segmentation, reference)
        # The table has 256 places, which is every value of the type that layers of organs have.
        if shift is None or image.GetScalarSize() > 1:
            parts.append(_Resampled(segment_array(segmentation, segment_id, reference), value))
            continue
        if not (parts and isinstance(parts[-1], _Layer) and parts[-1].image is image):
            parts.append(_Layer(image, shift))
        parts[-1].table[segment.GetLabelValue()] = value
    return parts
